# SPDX-License-Identifier: Apache-2.0
"""Find, from summary figures only, the site and class for which a model looks at the wrong place."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from fedxai.errors import SettingsError
from fedxai.records import Figure, PlaceName, PlaceSummary, ShortcutAlarm, ShortcutSearch

SUSPICIOUS: tuple[PlaceName, ...] = ("corners", "border", "rest")
_NORMAL = 1.959964  # half-widths of a 95 % interval in standard errors
_WHERE: dict[str, str] = {
    "corners": "in the image corners",
    "border": "along the image border",
    "rest": "far from the region and the border",
}


@dataclass(frozen=True, kw_only=True)
class AlarmRule:
    """When an excess of relevance becomes an alarm.

    ``spread`` and ``spread_weight`` are what is believed of the difference between honest sites before any is seen:
    its standard deviation, as a share of the relevance, and how many degrees of freedom that belief counts for.
    """

    level: float = 0.05  # of the whole family of tests
    smallest_excess: float = 0.05  # share of the relevance above what the other sites let one expect
    fewest_patients: int = 5
    spread: float = 0.02
    spread_weight: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.level < 1 or self.smallest_excess < 0 or self.fewest_patients < 2:
            raise SettingsError(
                "level must be between 0 and 1, smallest_excess >= 0 and fewest_patients >= 2, "
                f"got {self.level:g}, {self.smallest_excess:g} and {self.fewest_patients}"
            )
        if self.spread <= 0 or self.spread_weight < 1:
            raise SettingsError(f"spread must be > 0 and spread_weight >= 1, got {self.spread:g}, {self.spread_weight}")


@dataclass(frozen=True, kw_only=True)
class _Cell:
    site: str
    class_index: int
    place: PlaceName
    share: Figure
    patients: int

    @property
    def mean(self) -> float:
        return self.share.value or 0.0

    @property
    def variance(self) -> float:
        """Of the mean; the bootstrap over m patients gives (m - 1) / m of it."""
        half = ((self.share.high or 0.0) - (self.share.low or 0.0)) / 2
        return (half / _NORMAL) ** 2 * self.patients / (self.patients - 1)


@dataclass(frozen=True, kw_only=True)
class _Test:
    cell: _Cell
    expected: float
    p: float


def find_shortcuts(
    sites: Mapping[str, Sequence[PlaceSummary]],
    *,
    class_names: Sequence[str],
    rule: AlarmRule | None = None,
) -> ShortcutSearch:
    """Alarms over all sites, classes and suspicious places (corners, border, rest), for one saliency method.

    A site k is held against the J others that report the same class c and place. With m a mean share, v its
    variance within the site (from its interval) and w the variance between honest sites,

    ``t = (m_kc - mean_j m_jc) / sqrt(v_kc + w + sum_j (v_jc + w) / J^2)``,

    one-sided, with Welch-Satterthwaite degrees of freedom. w comes from the other sites' scatter about their class
    means, over all classes, less what v explains; with two sites, from the scatter of the other classes. Because few
    sites say little of w, it is moderated by a stated belief (:class:`AlarmRule`), as Smyth does for few samples. An
    alarm is a p that stays at or below the level after Holm's correction over all tests, with an excess that matters.

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
    usable, notes = [], []
    for site, summaries in sites.items():
        for summary in summaries:
            cells = _cells(site, summary, rule)
            usable += cells
            if not cells:
                notes.append(f"{site}, {class_names[summary.class_index]}: not enough cases to look for a shortcut.")
    tests = [test for cell in usable if (test := _test(cell, usable, rule)) is not None]
    adjusted = holm([test.p for test in tests])
    alarms = [
        _alarm(test, p, class_names[test.cell.class_index])
        for p, test in sorted(zip(adjusted, tests, strict=True), key=lambda pair: (pair[0], pair[1].p))
        if p <= rule.level and test.cell.mean - test.expected >= rule.smallest_excess
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


def _cells(site: str, summary: PlaceSummary, rule: AlarmRule) -> list[_Cell]:
    """The figures that can be tested: those with an interval, over enough patients."""
    if summary.patients < rule.fewest_patients:
        return []
    return [
        _Cell(site=site, class_index=summary.class_index, place=place, share=share, patients=summary.patients)
        for place in SUSPICIOUS
        if (share := summary.shares.get(place)) is not None
        and None not in (share.value, share.low, share.high)
        and share.n >= rule.fewest_patients
    ]


def _test(cell: _Cell, cells: Sequence[_Cell], rule: AlarmRule) -> _Test | None:
    here = [c for c in cells if c.place == cell.place]
    peers = [c for c in here if c.class_index == cell.class_index and c.site != cell.site]
    if not peers:
        return None
    expected = float(np.mean([peer.mean for peer in peers]))
    between, freedom = _between(cell, here, rule)
    within = [(c.variance, c.patients - 1) for c in (cell, *peers)]
    weights = [1.0] + [1 / len(peers) ** 2] * len(peers)
    parts = [(w * v, df) for w, (v, df) in zip(weights, within, strict=True)]
    parts.append((between * sum(weights), freedom))
    variance = sum(part for part, _ in parts)
    df = variance**2 / sum(part**2 / df for part, df in parts)
    p = float(student.sf((cell.mean - expected) / math.sqrt(variance), df))
    return _Test(cell=cell, expected=expected, p=p)


def _between(cell: _Cell, here: Sequence[_Cell], rule: AlarmRule) -> tuple[float, int]:
    """The moderated variance between honest sites for this place, and its degrees of freedom.

    The site in question is left out, so that its own shortcut hides nothing; where that leaves one site, its other
    classes must say how far two sites differ.
    """
    reference = [c for c in here if c.site != cell.site]
    if len({c.site for c in reference}) < 2:
        reference = [c for c in here if c.class_index != cell.class_index]
    squares, freedom = 0.0, 0
    for index in {c.class_index for c in reference}:
        same = [c for c in reference if c.class_index == index]
        scatter = sum((c.mean - float(np.mean([s.mean for s in same]))) ** 2 for c in same)
        explained = float(np.mean([c.variance for c in same])) * (len(same) - 1)
        squares += max(0.0, scatter - explained)
        freedom += len(same) - 1
    total = rule.spread_weight + freedom
    return (rule.spread_weight * rule.spread**2 + squares) / total, total


def _alarm(test: _Test, p: float, class_name: str) -> ShortcutAlarm:
    cell = test.cell
    advice = (
        f"{cell.site} looks for {class_name} {_WHERE[cell.place]} with {cell.mean:.0%} of its relevance where the "
        f"other sites let one expect {test.expected:.0%}: open that site's gallery at {class_name} and look there "
        "for a mark, a label or an edge that its other images lack."
    )
    return ShortcutAlarm(
        site=cell.site,
        class_index=cell.class_index,
        place=cell.place,
        share=cell.share,
        expected=test.expected,
        p_adjusted=p,
        advice=advice,
    )
