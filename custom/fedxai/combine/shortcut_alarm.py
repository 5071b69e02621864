# SPDX-License-Identifier: Apache-2.0
"""Find, from summary figures only, the site and class for which a model looks at the wrong place."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2
from scipy.stats import t as student

from fedxai.combine.intervals import NORMAL
from fedxai.errors import SettingsError
from fedxai.records import Figure, PlaceSummary, ShortcutAlarm, ShortcutSearch

WELCOME = ("region", "ring")  # every other place is suspicious


@dataclass(frozen=True, kw_only=True)
class AlarmRule:
    """When an excess of relevance becomes an alarm.

    Shares are compared as ``log(share + negligible)``, so that ratios count, and nothing below a negligible share.
    ``spread`` is the least that honest sites are believed to differ by, as a standard deviation in logarithms, and
    ``spread_weight`` how many degrees of freedom the belief counts for beside what a single place shows.
    """

    level: float = 0.01  # of the whole family of tests
    smallest_ratio: float = 1.5  # of the share to what the other sites let one expect, negligible added to both
    negligible: float = 0.005
    fewest_patients: int = 5
    spread: float = 0.1
    spread_weight: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.level < 1 or self.smallest_ratio < 1 or self.fewest_patients < 2:
            raise SettingsError(
                "level must be between 0 and 1, smallest_ratio >= 1 and fewest_patients >= 2, "
                f"got {self.level:g}, {self.smallest_ratio:g} and {self.fewest_patients}"
            )
        if self.negligible <= 0 or self.spread <= 0 or self.spread_weight < 1:
            raise SettingsError(
                "negligible and spread must be > 0 and spread_weight >= 1, "
                f"got {self.negligible:g}, {self.spread:g} and {self.spread_weight}"
            )


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One site's share in one place for one class, as a logarithm with the variance of its mean."""

    site: str
    class_index: int
    place: str
    share: Figure
    mean: float
    variance: float
    patients: int


@dataclass(frozen=True, kw_only=True)
class _Test:
    cell: _Cell
    expected: float  # logarithm
    p: float


def find_shortcuts(
    sites: Mapping[str, Sequence[PlaceSummary]],
    *,
    class_names: Sequence[str],
    rule: AlarmRule | None = None,
) -> ShortcutSearch:
    """Alarms over all sites, classes and suspicious places (corners, border pieces, rest), for one method.

    A site k is held against the J others that report the same class c and place. With m the logarithm of a mean
    share (:class:`AlarmRule`), v its variance within the site (from the interval) and w that between honest sites,

    ``t = (m_kc - mean_j m_jc) / sqrt(v_kc + w + sum_j (v_jc + w) / J^2)``,

    one-sided, with Welch-Satterthwaite degrees of freedom (of v: patients, or cases where those are fewer, less 1).
    w comes from the other sites' scatter about their class means, over all classes, less what v explains; with two
    sites, from the scatter of the other classes. Because few sites say little of w in one place, it is drawn towards
    the median over all places, as Smyth does for few samples of many genes, and that median is at least the rule's
    spread. An alarm is a p that stays at or below the level after Holm's correction over all tests, with an excess
    that matters.

    Args:
        sites: each site's summaries, one a class.
        class_names: by class index, for the sentence.
        rule: when to sound the alarm.

    Returns:
        The alarms, the smallest p first; the number of tests; in words, what had not enough cases.

    Raises:
        SettingsError: when a class index has no name.

    Source: Smyth 2004, Stat Appl Genet Mol Biol 3(1) (moderated t); Holm 1979, Scand J Stat 6(2).
    """
    rule = rule or AlarmRule()
    _check(sites, class_names)
    here, notes = _by_place(sites, class_names, rule)
    believed = _believed(here, rule)
    asked = [_test(cell, cells, believed, rule) for cells in here for cell in cells]
    tests = [test for test in asked if test is not None]
    adjusted = holm([test.p for test in tests])
    alarms = [
        _alarm(test, p, class_names[test.cell.class_index], rule)
        for p, test in sorted(zip(adjusted, tests, strict=True), key=lambda pair: (pair[0], pair[1].p))
        if p <= rule.level and test.cell.mean - test.expected >= math.log(rule.smallest_ratio)
    ]
    if not tests:
        notes.append("No class has enough cases at two sites: not enough cases to look for shortcuts.")
    return ShortcutSearch(alarms=alarms, tests=len(tests), notes=notes)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p: in rising order ``max over i <= r of min(1, (m - i + 1) p_i)``, in the order that came."""
    order = np.argsort(p, kind="stable")
    steps = np.minimum(1.0, np.asarray(p, dtype=float)[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted.tolist()


def _check(sites: Mapping[str, Sequence[PlaceSummary]], class_names: Sequence[str]) -> None:
    highest = max((summary.class_index for summaries in sites.values() for summary in summaries), default=-1)
    if highest >= len(class_names):
        raise SettingsError(f"class_names must name every class, got {len(class_names)} for class index {highest}")


def _by_place(
    sites: Mapping[str, Sequence[PlaceSummary]], class_names: Sequence[str], rule: AlarmRule
) -> tuple[list[list[_Cell]], list[str]]:
    """The cells of each place, and a note for every site and class that has none."""
    here: dict[str, list[_Cell]] = defaultdict(list)
    notes = []
    for site, summaries in sites.items():
        by_class = {summary.class_index: summary for summary in summaries}
        for index, name in enumerate(class_names):
            cells = _cells(site, by_class[index], rule) if index in by_class else []
            for cell in cells:
                here[cell.place].append(cell)
            if not cells:
                notes.append(
                    f"{site}, {name}: not enough cases told, of it or of another class, to look for a shortcut."
                )
    return list(here.values()), notes


def _cells(site: str, summary: PlaceSummary, rule: AlarmRule) -> list[_Cell]:
    """The figures that can be tested: those with an interval, over enough patients."""
    if summary.patients < rule.fewest_patients:
        return []
    cells = []
    for place, share in summary.shares.items():
        if place in WELCOME or share.value is None or share.high is None or share.n < rule.fewest_patients:
            continue
        error = (share.high - share.value) / NORMAL / (share.value + rule.negligible)
        cells.append(
            _Cell(
                site=site,
                class_index=summary.class_index,
                place=place,
                share=share,
                mean=math.log(share.value + rule.negligible),
                variance=error**2,
                patients=min(summary.patients, share.n),  # rest is over the cases with a region
            )
        )
    return cells


def _test(cell: _Cell, here: Sequence[_Cell], believed: float, rule: AlarmRule) -> _Test | None:
    """The cell against its peers; ``here`` are all cells of its place."""
    peers = [c for c in here if c.class_index == cell.class_index and c.site != cell.site]
    if not peers:
        return None
    expected = float(np.mean([peer.mean for peer in peers]))
    between, freedom = _between(cell, here, believed, rule)
    within = [(c.variance, c.patients - 1) for c in (cell, *peers)]
    weights = [1.0] + [1 / len(peers) ** 2] * len(peers)
    parts = [(w * v, df) for w, (v, df) in zip(weights, within, strict=True)]
    parts.append((between * sum(weights), freedom))
    variance = sum(part for part, _ in parts)
    df = variance**2 / sum(part**2 / df for part, df in parts)
    p = float(student.sf((cell.mean - expected) / math.sqrt(variance), df))
    return _Test(cell=cell, expected=expected, p=p)


def _between(cell: _Cell, here: Sequence[_Cell], believed: float, rule: AlarmRule) -> tuple[float, int]:
    """The moderated variance between honest sites for this place, and its degrees of freedom.

    The site in question is left out, so that its own shortcut hides nothing; where that leaves one site, its other
    classes must say how far two sites differ.
    """
    reference = [c for c in here if c.site != cell.site]
    if len({c.site for c in reference}) < 2:
        reference = [c for c in here if c.class_index != cell.class_index]
    squares, freedom = _scatter(reference)
    total = rule.spread_weight + freedom
    return (rule.spread_weight * believed + squares) / total, total


def _believed(here: Sequence[Sequence[_Cell]], rule: AlarmRule) -> float:
    """What the places together say of the variance between sites: their median, but no less than the rule's spread.

    A mark lies in one or two of many places and does not move a median; that of chi-squared is made the mean's.
    """
    found = []
    for cells in here:
        squares, freedom = _scatter(cells)
        if freedom:
            found.append(squares / float(chi2.median(freedom)))
    return max(rule.spread**2, float(np.median(found))) if found else rule.spread**2


def _scatter(cells: Sequence[_Cell]) -> tuple[float, int]:
    """Squares about the class means, less what the variance within the sites explains, and their freedom."""
    squares, freedom = 0.0, 0
    for index in {cell.class_index for cell in cells}:
        same = [cell for cell in cells if cell.class_index == index]
        explained = float(np.mean([cell.variance for cell in same])) * (len(same) - 1)
        squares += max(0.0, float(np.var([cell.mean for cell in same])) * len(same) - explained)
        freedom += len(same) - 1
    return squares, freedom


def _alarm(test: _Test, p: float, class_name: str, rule: AlarmRule) -> ShortcutAlarm:
    cell, expected = test.cell, max(0.0, math.exp(test.expected) - rule.negligible)
    kind, *piece = cell.place.split("_")
    where = f"in {kind} piece {'-'.join(piece)}" if piece else "outside region, ring and border"
    advice = (
        f"{cell.site} has {cell.share.value:.1%} of the relevance for {class_name} {where} where the other sites let "
        f"one expect {expected:.1%}: open that site's gallery at {class_name} and look there for a mark, a label or an "
        "edge that its other images lack."
    )
    return ShortcutAlarm(
        site=cell.site,
        class_index=cell.class_index,
        place=cell.place,
        share=cell.share,
        expected=expected,
        p_adjusted=p,
        advice=advice,
    )
