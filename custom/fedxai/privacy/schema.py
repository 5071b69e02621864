# SPDX-License-Identifier: Apache-2.0
"""The closed schema of a summary: names from known sets, counts and figures within bounds, small cells held back."""

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from fedxai.errors import ReleaseError
from fedxai.figures import DECIMALS
from fedxai.privacy.release import (
    Patients,
    held_back,
    least_cases,
    least_of_classes,
    of_class,
    of_classes_alike,
    told_by_the_others,
    too_few,
)
from fedxai.records import (
    CaseCounts,
    ClassSummary,
    Digest,
    Evaluation,
    Evaluations,
    Explanation,
    Figure,
    Holding,
    Honesty,
    MethodSummary,
    PlaceSummary,
    Record,
    SiteRound,
    Split,
    Survey,
    TrustTest,
)
from fedxai.records_statistics import BINS, WHOLE, Extent, HistogramBin, SiteStatistics
from fedxai.settings import ReleasePolicy

_FIELDS: dict[type[Record], str] = {  # what the rules below look at; a field that is not here is refused
    Figure: "value n low high",
    Evaluation: "split cases patients metrics confusion",
    Evaluations: "validation test",
    TrustTest: "name outcome value threshold",
    MethodSummary: "method scored unscored undefined scores chance centred trust",
    Honesty: "cases figures",
    PlaceSummary: "class_index n patients undefined shares chance",
    ClassSummary: "class_index methods honesty",
    Explanation: "split cases methods seconds passes honesty places classes left_out agreement",
    SiteRound: "name training_loss validation steps seconds explanation",
    Survey: "cases minimum_cell holding classes bundle_digest",
    CaseCounts: "training validation test",
    Holding: "case_records bytes",
    SiteStatistics: "cases minimum_cell classes histogram spacing shape",
    HistogramBin: "bin share",
    Extent: "low middle high",
}
_TECHNICAL = 2**48  # steps, passes and bytes: more than any machine gets through


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The only words that a summary may hold: what the registries and the bundle name."""

    metrics: frozenset[str]
    methods: frozenset[str]
    scores: frozenset[str]
    places: frozenset[str]
    honesty: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the site knows of itself, which its summaries must agree with."""

    site: str
    classes: int
    cases: CaseCounts
    digest: Digest
    minimum_cell: int
    patients: Mapping[Split, Patients] = field(default_factory=dict)  # the server is not told them

    @property
    def total(self) -> int:
        """Cases of all splits."""
        return self.cases.training + self.cases.validation + self.cases.test


def recognised(values: object, kind: type[Record], *, words: Vocabulary, facts: Facts, policy: ReleasePolicy) -> Record:
    """The summary that ``values`` spell, and nothing else: what is sent is rebuilt from it, never ``values`` itself.

    Refused are: anything but plain JSON values, a field that is not in ``kind``, a figure with more than 4 decimals,
    not finite or above ``policy.largest``, a name outside ``words``, counts that the cohort cannot give, a figure or
    cell of the confusion matrix over 1 to ``minimum_cell - 1`` cases or over one patient's alone, a single held-back
    cell (the others would tell it), and more than ``policy.figures`` numbers.

    Raises:
        ReleaseError: names the rule, never a value.
    """
    record = _parsed(values, kind)
    if sum(1 for _ in _numbers(values)) > policy.figures:
        raise ReleaseError("figures", f"a summary may hold {policy.figures} numbers (policy.figures)")
    bounds = _Bounds(words=words, facts=facts, policy=policy)
    for part in _parts(record):
        bounds.check(part)
    return record


def _parsed(values: object, kind: type[Record]) -> Record:
    try:
        if not _plain(values):
            raise ReleaseError("types", "a summary may hold only numbers, names, lists and tables")
        record = kind.model_validate(values)
        same = json.dumps(record.model_dump(mode="json"), sort_keys=True) == json.dumps(values, sort_keys=True)
    except (ValidationError, RecursionError, OverflowError, TypeError, ValueError):
        raise ReleaseError("schema", f"the summary breaks the schema of {kind.__name__}") from None
    if not same:
        raise ReleaseError("decimals", f"figures of {kind.__name__} must be finite, with at most 4 decimals")
    return record


def _plain(value: object) -> bool:
    """Exactly JSON's types: a subclass could carry more than it shows."""
    if type(value) is dict:
        return all(type(name) is str and _plain(part) for name, part in value.items())
    if type(value) is list:
        return all(_plain(part) for part in value)
    return value is None or type(value) in (str, int, float, bool)


def _numbers(value: object) -> Iterator[object]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _numbers(part)
    elif value is not None and not isinstance(value, str):
        yield value


def _parts(value: object) -> Iterator[Record]:
    """A record and all records in it."""
    if isinstance(value, Record):
        yield value
        for name in type(value).model_fields:
            yield from _parts(getattr(value, name))
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _parts(part)


class _Bounds:
    """The rules by kind of record; a kind or field without one is refused."""

    def __init__(self, *, words: Vocabulary, facts: Facts, policy: ReleasePolicy) -> None:
        self.words, self.facts, self.policy = words, facts, policy
        self._questions = facts.total * max(1, facts.classes)  # a case of a segmentation is one for each class
        self._rules: dict[type[Record], Callable[[Any], None]] = {
            Figure: self._figure,
            Evaluation: self._evaluation,
            TrustTest: lambda test: self._size(test.threshold),
            MethodSummary: self._method,
            Honesty: self._honesty,
            PlaceSummary: self._place,
            ClassSummary: self._class,
            Explanation: self._explanation,
            SiteRound: self._round,
            Survey: self._survey,
            CaseCounts: lambda counts: _require(counts == facts.cases, "counts", "counts must be the cohort's own"),
            Holding: self._holding,
            SiteStatistics: self._statistics,
        }

    def check(self, record: Record) -> None:
        """Raise where a rule is broken."""
        kind = type(record)
        for name, declared in kind.model_fields.items():
            known = name in _FIELDS.get(kind, "").split() or getattr(record, name) == declared.get_default()
            _require(known, "schema", f"{kind.__name__}.{name} has no rule at the gate yet, so it does not leave")
        self._rules.get(kind, lambda _: None)(record)

    def _figure(self, figure: Figure) -> None:
        for value in (figure.value, figure.low, figure.high):
            self._size(value)
        self._count(figure.n, self._questions)
        shown = any(value is not None for value in (figure.value, figure.low, figure.high))
        minimum = self.facts.minimum_cell
        _require(not shown or figure.n >= minimum, "small_cell", f"a figure must be over {minimum} cases or more")

    def _evaluation(self, evaluation: Evaluation) -> None:
        self._count(evaluation.cases, self.facts.total)
        self._count(evaluation.patients, self.facts.total)
        side = len(evaluation.confusion)
        square = side in (0, self.facts.classes) and all(len(row) == side for row in evaluation.confusion)
        _require(square, "schema", "a confusion matrix must have a row and a column for each class")
        self._cells([cell for row in evaluation.confusion for cell in row], self.facts.total)
        patients, minimum = self.facts.patients.get(evaluation.split), self.facts.minimum_cell
        rows = least_of_classes(minimum, patients) or [least_cases(minimum, patients)] * side
        for row, least in zip(evaluation.confusion, rows, strict=False):
            _require(all(not cell or cell >= least for cell in row), "small_cell", _ONE)
            few = least > minimum and any(cell is None for cell in row)
            _require(not few or held_back(row), "small_cell", "a row of one patient's cases must be held back whole")
        self._metrics(evaluation.metrics, evaluation.split, alone=any(map(held_back, evaluation.confusion)))

    def _metrics(self, metrics: Mapping[str, Figure], split: Split, *, alone: bool) -> None:
        """``alone``: whether the row of a class is held back."""
        self._names(metrics, self.words.metrics, "metrics")
        self._of_many(split, metrics)
        minimum, patients = self.facts.minimum_cell, self.facts.patients.get(split)
        alone = alone or (minimum > 1 and patients is not None and 1 in patients.by_class)
        told = any(metrics[name].value is not None for name in of_classes_alike(self.facts.classes) if name in metrics)
        _require(not (told and alone), "small_cell", "where one class is held back, so must be what weighs all alike")
        parts = [figure for name, figure in metrics.items() if of_class(name, metrics)]
        few = any(0 < figure.n < minimum for figure in parts)
        _require(not few, "small_cell", "in how few cases a class is must be held back")
        self._with_interval([figure for figure in parts if figure.n < getattr(self.facts.cases, split)])

    def _cells(self, cells: list[int | None], most: int) -> None:
        for cell in cells:
            if cell is not None:
                self._count(cell, most)
                _require(cell == 0 or cell >= self.facts.minimum_cell, "small_cell", "small cells must be held back")
        _require(cells.count(None) != 1, "small_cell", _ALONE)

    def _method(self, method: MethodSummary) -> None:
        _require(method.method in self.words.methods, "names", "methods must be known ones")
        for names in (method.undefined, method.scores, method.chance, method.centred):
            self._names(names, self.words.scores, "scores")
        for count in (method.scored, method.unscored, *method.undefined.values()):
            self._count(count, self._questions)
        self._once([test.name for test in method.trust], "trust tests")

    def _honesty(self, honesty: Honesty) -> None:
        self._names(honesty.figures, self.words.honesty, "figures of the honesty battery")
        self._count(honesty.cases, self._questions)

    def _place(self, place: PlaceSummary) -> None:
        for names in (place.shares, place.chance):
            self._names(names, self.words.places, "places")
        for count in (place.n, place.patients, place.undefined):
            self._count(count, self.facts.total)
        self._class(place)
        known = [split.by_class[place.class_index] for split in self.facts.patients.values() if split.by_class]
        patients = min(place.patients, sum(known)) if known else place.patients
        minimum = self.facts.minimum_cell
        self._over(least_cases(minimum, Patients(together=patients)), place.shares, place.chance)
        self._with_interval(place.shares)
        rest = place.shares.get("rest")
        told = rest is not None and rest.value is not None and told_by_the_others(place, minimum)
        _require(not told, "small_cell", "the rest must be held back where it tells of a few cases without a region")

    def _class(self, part: PlaceSummary | ClassSummary) -> None:
        _require(part.class_index < self.facts.classes, "counts", "a class must be one of the bundle's")
        if isinstance(part, ClassSummary):
            self._once([method.method for method in part.methods], "methods")
            few = too_few(part, self.facts.minimum_cell)
            _require(not few, "small_cell", "a class of few cases must be held back")

    def _explanation(self, explanation: Explanation) -> None:
        self._count(explanation.cases, self.facts.total)
        self._count(explanation.passes, _TECHNICAL)
        self._size(explanation.seconds)
        self._once([*(method.method for method in explanation.methods), *explanation.left_out], "methods")
        _require(self.words.methods.issuperset(explanation.left_out), "names", "methods must be known ones")
        self._once([place.class_index for place in explanation.places], "classes")
        self._once([part.class_index for part in explanation.classes], "classes")
        told = (explanation.methods, explanation.honesty, explanation.classes, explanation.agreement)
        self._of_many(explanation.split, *told)
        self._with_interval(*told)

    def _round(self, report: SiteRound) -> None:
        _require(report.name == self.facts.site, "names", "the site's name must be its own")
        self._metrics(report.validation, "validation", alone=False)
        self._count(report.steps, _TECHNICAL)
        least = least_cases(self.facts.minimum_cell, self.facts.patients.get("training"))
        enough = report.training_loss is None or self.facts.cases.training >= least
        _require(enough, "small_cell", "the loss over a few training cases must be held back")
        for value in (report.training_loss, report.seconds):
            self._size(value)

    def _survey(self, survey: Survey) -> None:
        self._minimum(survey.minimum_cell)
        _require(survey.bundle_digest == self.facts.digest, "names", "the digest must be the bundle's own")
        _require(survey.classes == self.facts.classes, "counts", "the classes must be the bundle's own")

    def _minimum(self, told: int) -> None:
        _require(told == self.facts.minimum_cell, "counts", "the smallest cell must be the site's own setting")

    def _holding(self, holding: Holding) -> None:
        self._count(holding.case_records, self.facts.total)
        self._count(holding.bytes, _TECHNICAL)

    def _statistics(self, statistics: SiteStatistics) -> None:
        most, bins = self.facts.cases.training, [part.bin for part in statistics.histogram]
        self._minimum(statistics.minimum_cell)
        _require(len(statistics.classes) == self.facts.classes, "counts", "the classes must be the bundle's own")
        self._cells(statistics.classes, most)
        _require(bins == sorted(set(bins)) and max(bins, default=0) < BINS, "schema", "bins must be known, in order")
        _require(max(len(statistics.spacing), len(statistics.shape)) <= 3, "schema", "an image has 3 axes at most")
        shares = [part.share for part in statistics.histogram]
        extents = [*statistics.spacing, *statistics.shape]
        least = least_cases(self.facts.minimum_cell, self.facts.patients.get("training"))
        _require(all(not cell or cell >= least for cell in statistics.classes), "small_cell", _ONE)
        self._over(least, statistics.histogram, extents)
        for figure in [*shares, *(end for extent in extents for end in (extent.low, extent.middle, extent.high))]:
            self._count(figure.n, most)
            _require(figure.low is None and figure.high is None, "schema", "statistics of data have no intervals")
            _require(figure.value is None or figure.value >= 0, "bounds", "shares, spacings and shapes are positive")
        _require(all(share.value is not None for share in shares), "schema", "a bin without a share is not told")
        total = sum(share.value or 0 for share in shares)
        whole = not bins or abs(total - WHOLE) <= BINS * 10**-DECIMALS  # the shares are rounded
        _require(whole, "bounds", "the shares of a histogram must be all of it")

    def _of_many(self, split: Split, *told: object) -> None:
        self._over(least_cases(self.facts.minimum_cell, self.facts.patients.get(split)), *told)

    def _over(self, least: int, *told: object) -> None:
        """Nothing is shown where not even the smallest cell is enough; that itself has its rule in ``_figure``."""
        figures = (part for part in _parts(told) if isinstance(part, Figure))
        shown = any(figure.value is not None and figure.n < least for figure in figures)
        _require(least == self.facts.minimum_cell or not shown, "small_cell", _ONE)

    def _with_interval(self, *told: object) -> None:
        """What is shown of an explanation has an interval; without one it is over one patient's cases alone."""
        alone = any(part.value is not None and part.low is None for part in _parts(told) if isinstance(part, Figure))
        _require(self.facts.minimum_cell <= 1 or not alone, "small_cell", _ONE)

    def _size(self, value: float | None) -> None:
        bounded = value is None or (math.isfinite(value) and abs(value) <= self.policy.largest)
        _require(bounded, "bounds", f"a figure must be at most {self.policy.largest:g} in size (policy.largest)")

    @staticmethod
    def _count(count: int, most: int) -> None:
        _require(0 <= count <= most, "counts", "a count must be one that the cohort can give")

    @staticmethod
    def _names(found: Mapping[str, object], known: Collection[str], what: str) -> None:
        _require(found.keys() <= set(known), "names", f"{what} must be known ones")

    @staticmethod
    def _once(names: list[Any], what: str) -> None:
        _require(len(names) == len(set(names)), "names", f"{what} must be told once each")


_ONE = "what is over one patient's cases alone must be held back"
_ALONE = "one cell held back alone is told by the others: hold back a second"


def _require(kept: bool, rule: str, sentence: str) -> None:
    if not kept:
        raise ReleaseError(rule, sentence)
