# SPDX-License-Identifier: Apache-2.0
"""What may leave a site: figures over too few cases, or over one patient's alone, are held back."""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fedxai.errors import SettingsError
from fedxai.records import (
    Case,
    ClassSummary,
    Evaluation,
    Explanation,
    Figure,
    Honesty,
    MethodSummary,
    PlaceSummary,
    TrustTest,
)

_LEVELS = ("chance", "centred")
_KINDS = ("scores", *_LEVELS)
GAIN, GAIN_OF = "gain_over_random", ("deletion", "insertion")
FEWEST_PATIENTS = 2  # many images of one patient are no crowd
_Cells = list[list[int | None]]
_Name = TypeVar("_Name", int, str)


@dataclass(frozen=True, kw_only=True)
class Patients:
    """How many patients the cases of a split are of: all of them, and those of each class, where cases have one."""

    together: int
    by_class: tuple[int, ...] = ()

    @classmethod
    def of(cls, cases: Sequence[Case], classes: int) -> "Patients":
        """Counted; a case that names no patient counts as one of its own."""
        known = [(case.group or str(case.image), case.label) for case in cases]
        labelled = all(isinstance(label, int) for _, label in known)
        by_class = [len({patient for patient, label in known if label == index}) for index in range(classes)]
        return cls(together=len({patient for patient, _ in known}), by_class=tuple(by_class) if labelled else ())


def least_cases(minimum_cell: int, patients: Patients | None) -> int:
    """Over how many cases a figure must be to leave; no number is enough where all cases are one patient's."""
    alone = patients is not None and patients.together < min(minimum_cell, FEWEST_PATIENTS)
    return sys.maxsize if alone else minimum_cell


def least_of_classes(minimum_cell: int, patients: Patients | None) -> tuple[int, ...]:
    """The same for each class, where the split's patients are known by class."""
    by_class = () if patients is None else patients.by_class
    whole = least_cases(minimum_cell, patients)
    return tuple(max(whole, least_cases(minimum_cell, Patients(together=count))) for count in by_class)


def released_figure(figure: Figure, minimum_cell: int) -> Figure:
    """The figure, or one without value and interval when it is over fewer than ``minimum_cell`` cases."""
    return figure if figure.n >= minimum_cell else Figure(value=None, n=figure.n)


def released_of_several(figure: Figure, minimum_cell: int) -> Figure:
    """The same for a figure that comes with an interval: one without is over one patient's cases alone."""
    alone = minimum_cell > 1 and figure.low is None
    return Figure(value=None, n=figure.n) if alone else released_figure(figure, minimum_cell)


def told_by_the_others(place: PlaceSummary, minimum_cell: int) -> bool:
    """Whether ``rest``, which is over the cases with a region, would tell of fewer than so many without one.

    Corners and border pieces are over all n cases, and the shares of a case add up to 1: from all the means together
    those of the cases without a region could be worked out.
    """
    return 0 < place.n - place.shares["rest"].n < minimum_cell if "rest" in place.shares else False


def too_few(part: ClassSummary, minimum_cell: int) -> bool:
    """Whether a class of a segmentation is in so few cases that their number must not leave either."""
    return any(0 < method.scored < minimum_cell for method in part.methods)


def of_classes_alike(classes: int) -> tuple[str, ...]:
    """The metrics that weigh classes alike: with the other classes' rows they tell how the few of one were answered.

    Of two classes so does the AUC, which is then that of the few against all others.
    """
    return ("balanced_accuracy", "macro_f1", *(["macro_auc"] if classes == 2 else []))


def of_class(name: str, metrics: Mapping[str, Figure]) -> bool:
    """Whether a metric is of one class of a segmentation, as ``dice_<class>`` beside ``mean_dice``."""
    return f"mean_{name.partition('_')[0]}" in metrics


def released_evaluation(evaluation: Evaluation, minimum_cell: int, patients: Patients | None = None) -> Evaluation:
    """An evaluation as it may leave: small cells of the confusion matrix, and small figures, held back.

    A class of too few cases, or of one patient's, has its whole row held back, and others with it
    (:func:`with_others`), or accuracy would tell it. Where a row is held back so are the metrics that weigh classes
    alike. Of a segmentation, a class's figure that is held back does not tell how many cases it is over, and others are
    held back with it, or the mean of all would tell it.

    Args:
        evaluation: of one split.
        minimum_cell: cases that a figure or a cell must be over.
        patients: of the split, where they are known: nothing leaves that is one patient's.

    Raises:
        SettingsError: when ``minimum_cell`` is below 1.
    """
    _check(minimum_cell)
    least = least_cases(minimum_cell, patients)
    metrics = {  # over a part of the cases are only figures of a segmentation, which come with intervals
        name: released_of_several(figure, least) if figure.n < evaluation.cases else released_figure(figure, least)
        for name, figure in evaluation.metrics.items()
    }
    counts = evaluation.confusion
    metrics |= _released_classes(evaluation.metrics, metrics, minimum_cell)
    rows = (least_of_classes(minimum_cell, patients) or [least] * len(counts))[: len(counts)]
    confusion = released_cells(_released_rows(counts, rows, minimum_cell), rows)
    if any(held_back(row) for row in confusion):
        alike = of_classes_alike(len(counts))
        metrics |= {name: Figure(value=None, n=metrics[name].n) for name in alike if name in metrics}
    return evaluation.model_copy(update={"metrics": metrics, "confusion": confusion})


def with_others(few: Collection[_Name], cases: Mapping[_Name, int], minimum_cell: int) -> set[_Name]:
    """The classes to hold back: the few and, smallest first, others until they are two and of ``minimum_cell`` cases.

    What is told of all classes together less the classes that are told is then of no fewer.

    Args:
        few: the classes that are too few.
        cases: how many each class has; those without any have no part.
        minimum_cell: of the site.
    """
    held = set(few)
    for other in sorted(cases.keys() - held, key=lambda name: (cases[name], name)):
        if not held or (len(held) > 1 and sum(cases[name] for name in held) >= minimum_cell):
            break
        if cases[other]:
            held.add(other)
    return held


def _released_classes(
    measured: Mapping[str, Figure], released: Mapping[str, Figure], minimum_cell: int
) -> dict[str, Figure]:
    """The figures of a segmentation's classes that stay back, without their n."""
    held: dict[str, Figure] = {}
    for kind in sorted({name.partition("_")[0] for name in measured if of_class(name, measured)}):
        cases = {name: figure.n for name, figure in measured.items() if name.startswith(f"{kind}_")}
        few = [name for name, n in cases.items() if n and released[name].value is None]
        held |= dict.fromkeys(with_others(few, cases, minimum_cell), Figure(value=None, n=0))
    return held


def held_back(row: Sequence[int | None]) -> bool:
    """Whether a row of the confusion matrix tells nothing."""
    return all(cell is None for cell in row)


def _released_rows(counts: _Cells, least: Sequence[int], minimum_cell: int) -> _Cells:
    """Rows of 1 to ``least - 1`` cases held back whole: a cell of 0 would tell how all of these were answered."""
    cases = {index: sum(cell or 0 for cell in row) for index, row in enumerate(counts)}
    few = [index for index, enough in enumerate(least) if 0 < cases[index] < enough]
    held = with_others(few, cases, minimum_cell)
    return [[None] * len(row) if index in held else row for index, row in enumerate(counts)]


def released_cells(counts: _Cells, least: Sequence[int]) -> _Cells:
    """Cells of 1 to ``least - 1`` of their row held back; with a single one a second, or the sum of all tells it."""
    released = [
        [None if cell and cell < enough else cell for cell in row] for row, enough in zip(counts, least, strict=True)
    ]
    cells = [(cell, row, column) for row, listed in enumerate(released) for column, cell in enumerate(listed)]
    known = [(cell, row, column) for cell, row, column in cells if cell is not None]
    if known and len(cells) - len(known) == 1:
        _, row, column = min(known, key=lambda place: (place[0] == 0, place[0]))
        released[row][column] = None
    return released


def released_explanation(explanation: Explanation, minimum_cell: int, patients: Patients | None = None) -> Explanation:
    """An explanation as it may leave: figures over fewer than ``minimum_cell`` cases held back.

    Args:
        explanation: of one split; where the relevance lies, of all of them.
        minimum_cell: cases that a figure must be over.
        patients: of the split, where they are known: nothing leaves that is one patient's.

    Raises:
        SettingsError: when ``minimum_cell`` is below 1.
    """
    _check(minimum_cell)
    places = [_released_place(place, minimum_cell) for place in _places_of_enough(explanation.places, minimum_cell)]
    minimum_cell = least_cases(minimum_cell, patients)
    classes = [
        part.model_copy(
            update={
                "methods": _released_methods(part, minimum_cell),
                "honesty": _released_honesty(part.honesty, minimum_cell),
            }
        )
        for part in explanation.classes
    ]
    methods = [_no_more_than(method, classes) for method in _released_methods(explanation, minimum_cell)]
    batteries = [part.honesty.figures for part in classes if part.honesty is not None]
    agreement = None if explanation.agreement is None else released_of_several(explanation.agreement, minimum_cell)
    return explanation.model_copy(
        update={
            "methods": methods,
            "honesty": _released_honesty(explanation.honesty, minimum_cell, batteries),
            "places": places,
            "classes": _of_enough(classes, minimum_cell),
            "agreement": agreement,
        }
    )


def _places_of_enough(places: Sequence[PlaceSummary], minimum_cell: int) -> list[PlaceSummary]:
    """The classes of enough cases and patients, less those that with the number of all would tell how few others are.

    A class whose maps are all undefined has no places to tell; its number is its cases'.
    """
    cases = {place.class_index: place.n + place.undefined for place in places}
    without = {p.class_index for p in places if not p.n and p.undefined >= minimum_cell}
    few = {p.class_index for p in places if p.n < least_cases(minimum_cell, Patients(together=p.patients))} - without
    held = with_others(few, {index: n for index, n in cases.items() if index not in without}, minimum_cell) | without
    return [place for place in places if place.class_index not in held]


def _released_place(place: PlaceSummary, minimum_cell: int) -> PlaceSummary:
    """The places' chance levels leave with their shares, or not at all."""
    shares = _released_figures(place.shares, minimum_cell)
    if told_by_the_others(place, minimum_cell):
        shares["rest"] = Figure(value=None, n=shares["rest"].n)
    chance = {
        name: level if shares[name].value is not None else Figure(value=None, n=level.n)
        for name, level in place.chance.items()
    }
    return place.model_copy(update={"shares": shares, "chance": chance})


def _of_enough(classes: Sequence[ClassSummary], minimum_cell: int) -> list[ClassSummary]:
    """The classes that enough cases hold, less those that with the counts of all would tell how few hold the others."""
    cases = {part.class_index: max((method.scored for method in part.methods), default=0) for part in classes}
    held = with_others([p.class_index for p in classes if too_few(p, minimum_cell)], cases, minimum_cell)
    return [part for part in classes if part.class_index not in held]


def _no_more_than(method: MethodSummary, classes: Sequence[ClassSummary]) -> MethodSummary:
    """Figures and trust tests over the classes together are held back where one class's are."""
    parts = [part for summary in classes for part in summary.methods if part.method == method.method]
    figures = {kind: _together(getattr(method, kind), [getattr(part, kind) for part in parts]) for kind in _KINDS}
    by_class = [{test.name: test.value for test in part.trust} for part in parts]
    values = _together({test.name: test.value for test in method.trust}, by_class)
    trust = [_test_as_told(test, values[test.name]) for test in method.trust]
    return method.model_copy(update={**figures, "trust": trust})


def _together(figures: dict[str, Figure], by_class: Sequence[dict[str, Figure]]) -> dict[str, Figure]:
    """A figure over the classes together is held back where one of a class with cases is: the others would tell it."""
    return {
        name: figure
        if all(part[name].value is not None or not part[name].n for part in by_class if name in part)
        else Figure(value=None, n=figure.n)
        for name, figure in figures.items()
    }


def _released_honesty(
    honesty: Honesty | None, minimum_cell: int, by_class: Sequence[dict[str, Figure]] = ()
) -> Honesty | None:
    if honesty is None:
        return None
    figures = _together(_released_figures(honesty.figures, minimum_cell), by_class)
    return honesty.model_copy(update={"figures": figures})


def _released_methods(explained: Explanation | ClassSummary, minimum_cell: int) -> list[MethodSummary]:
    """Levels that are over a few cases less than another method's stay back: between them they tell those cases'."""
    released = [_released_method(method, minimum_cell) for method in explained.methods]
    together = {kind: [getattr(method, kind) for method in released] for kind in _LEVELS}
    return [
        method.model_copy(
            update={kind: _not_of_few_more(getattr(method, kind), together[kind], minimum_cell) for kind in _LEVELS}
        )
        for method in released
    ]


def _not_of_few_more(
    levels: dict[str, Figure], together: Sequence[dict[str, Figure]], minimum_cell: int
) -> dict[str, Figure]:
    """A method's levels, without those that lack fewer than ``minimum_cell`` of the cases of another's."""
    most = {name: max(others[name].n for others in together if name in others) for name in levels}
    return {
        name: Figure(value=None, n=level.n) if 0 < most[name] - level.n < minimum_cell else level
        for name, level in levels.items()
    }


def _released_method(method: MethodSummary, minimum_cell: int) -> MethodSummary:
    """Small figures held back, and where few maps are undefined the levels of what the gain over random is made of.

    The gain is the gap of insertion and deletion less that of a random map, over the defined cases; the levels are that
    map's, over all: together they would tell it of the few.
    """
    figures = {kind: _released_figures(getattr(method, kind), minimum_cell) for kind in _KINDS}
    gain = method.scores.get(GAIN)
    if gain is not None and 0 < method.chance[GAIN].n - gain.n < minimum_cell:
        for kind in _LEVELS:
            levels = figures[kind]
            told = {name: Figure(value=None, n=levels[name].n) for name in (GAIN, *GAIN_OF) if name in levels}
            figures[kind] = levels | told
    trust = [_test_as_told(test, released_of_several(test.value, minimum_cell)) for test in method.trust]
    return method.model_copy(update={**figures, "trust": trust})


def _released_figures(figures: dict[str, Figure], minimum_cell: int) -> dict[str, Figure]:
    return {name: released_of_several(figure, minimum_cell) for name, figure in figures.items()}


def _test_as_told(test: TrustTest, value: Figure) -> TrustTest:
    """The outcome speaks of the figure, so it is held back with it: undecided."""
    return test if value == test.value else test.model_copy(update={"outcome": "undecided", "value": value})


def _check(minimum_cell: int) -> None:
    if minimum_cell < 1:
        raise SettingsError(f"minimum_cell must be at least 1, got {minimum_cell}")
