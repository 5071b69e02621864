# SPDX-License-Identifier: Apache-2.0
"""The gallery's pages from what is remembered of its cases: words and numbers, no pixels."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedxai.records import E_SCORE, HEADLINE_METHOD, MethodSummary
from fedxai.report.baseline_table import baseline_table
from fedxai.report.case_pictures import shown_planes
from fedxai.report.examined import Examined
from fedxai.report.overlay import colour_steps
from fedxai.report.page import render
from fedxai.report.reading import chance_of, method_named, score_of, value_of
from fedxai.report.tables import Cell, Column, Table
from fedxai.report.verdict import failed_tests, marked, verdict_of
from fedxai.report.words import words

Answer = Literal["wrong", "right", "absent"]
_ANSWERS: dict[Answer, str] = {"wrong": "wrong", "right": "right", "absent": "not in this case"}
_PROBABILITIES_SHOWN = 4
_TEMPLATES = {
    "index.html": "gallery.html.j2",
    "methods.html": "gallery_methods.html.j2",
    "reading.html": "gallery_reading.html.j2",
}
_SORTS = {
    "class": "class, errors first",
    "low": "E, lowest first",
    "high": "E, highest first",
    "sure": "certainty of the prediction",
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is remembered of a case."""

    index: int
    image: str  # the image's file in the cohort; empty where it is not told
    label: int
    predicted: int
    present: bool  # whether the case has the class ``label``
    explained: int
    probabilities: list[float]
    scores: dict[str, dict[str, float | None]]  # by shown method
    chance: float | None  # the region's share of the image; None without a region
    planes: list[int]  # of a volume, the shown index along each axis

    @classmethod
    def of(cls, case: Examined, methods: Sequence[str], image: str = "") -> "Entry":
        """Remember a case, without its arrays."""
        return cls(
            index=int(case.index),
            image=image,
            label=int(case.label),
            predicted=int(case.predicted),
            present=bool(case.present),
            explained=int(case.target),
            probabilities=[float(p) for p in case.probabilities],
            scores={method: _defined(case.scores.get(method, {})) for method in methods if method in case.maps},
            chance=None if case.region is None else float((np.asarray(case.region) > 0).mean()),
            planes=[cut[1] for cut in shown_planes(case) if cut is not None],
        )

    @property
    def folder(self) -> str:
        """Where its pictures are, in the gallery."""
        return f"cases/{self.index:05d}"

    @property
    def answer(self) -> Answer:
        """Whether the prediction is right; neither where the case does not have the class."""
        if not self.present:
            return "absent"
        return "right" if self.label == self.predicted else "wrong"

    @property
    def kind(self) -> tuple[int, Answer]:
        """True class and answer."""
        return self.label, self.answer

    @property
    def likeliest(self) -> list[tuple[int, float]]:
        """Classes and their probabilities, the likeliest first."""
        return sorted(enumerate(self.probabilities), key=lambda pair: -pair[1])[:_PROBABILITIES_SHOWN]

    def e(self, method: str) -> float | None:
        """E of a method; None where undefined."""
        return self.scores.get(method, {}).get(E_SCORE)

    def below_chance(self, method: str) -> bool:
        """Whether the method's map avoids the region."""
        e = self.e(method)
        return e is not None and self.chance is not None and e < self.chance


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One button of a control; ``id`` is what the page's style speaks of."""

    id: str
    label: str
    chosen: bool = False


@dataclass(frozen=True, kw_only=True)
class Control:
    """Buttons of which one is pressed."""

    name: str
    title: str
    choices: list[Choice]


def gallery_pages(
    entries: Sequence[Entry],
    *,
    site: str,
    seen: str,
    class_names: Sequence[str],
    methods: Sequence[str],
    summaries: Sequence[MethodSummary],
    explained: str = "",
) -> dict[str, bytes]:
    """The pages by file name; a case's place under each order is worked out here, so that no page needs a script.

    ``seen`` counts in words what was explained in all, and is empty where nothing was.
    """
    ranks = {answer: rank for rank, answer in enumerate(_ANSWERS)}
    listed = sorted(entries, key=lambda entry: (entry.label, ranks[entry.answer], entry.index))
    shown = [method for method in methods if any(method in entry.scores for entry in listed)]
    names = dict(enumerate(class_names))
    classes = {label: names.get(label, f"class {label}") for label in sorted({entry.label for entry in listed})}
    known = {method: method_named(summaries, method) for method in shown}
    tested = any(summary.trust for summary in known.values() if summary)
    values = {
        "site": site,
        "seen": seen,
        "entries": listed,
        "methods": shown,
        "verdicts": {method: verdict_of(summary) if tested else None for method, summary in known.items()},
        "table": _table([summary for summary in known.values() if summary]),
        "baselines": baseline_table([summary for summary in known.values() if summary]),
        "tested": tested,
        "explained": explained,
        "classes": classes,
        "class_name": lambda index: names.get(index, f"class {index}"),
        "controls": _controls(shown, classes, _answers(listed)),
        "places": _places(listed, shown),
        "colours": colour_steps(),
    }
    return {name: render(template, **values) for name, template in _TEMPLATES.items()}


def _answers(entries: Sequence[Entry]) -> dict[str, str]:
    """Right and wrong, and classes that a case does not have only where there are any."""
    found = {entry.answer for entry in entries}
    return {answer: label for answer, label in _ANSWERS.items() if answer != "absent" or answer in found}


def _controls(methods: Sequence[str], classes: Mapping[int, str], answers: Mapping[str, str]) -> list[Control]:
    first = HEADLINE_METHOD if HEADLINE_METHOD in methods else next(iter(methods), "")
    by_map = [
        Choice(id=f"method-{number}", label=words(method), chosen=method == first)
        for number, method in enumerate(methods)
    ]
    by_class = [Choice(id="class-all", label="all", chosen=True)]
    by_class += [Choice(id=f"class-{label}", label=name) for label, name in classes.items()]
    return [
        Control(name="method", title="Map", choices=by_map),
        Control(name="class", title="True class", choices=by_class),
        _control("answer", "Prediction", {"all": "all", **answers}),
        _control("score", "Score", {"all": "all", "below": "E below chance"}),
        _control("sort", "Sort by", _SORTS),
    ]


def _control(name: str, title: str, labels: Mapping[str, str]) -> Control:
    choices = [
        Choice(id=f"{name}-{key}", label=label, chosen=number == 0)
        for number, (key, label) in enumerate(labels.items())
    ]
    return Control(name=name, title=title, choices=choices)


def _table(summaries: Sequence[MethodSummary]) -> Table:
    columns = (
        Column(key="method", heading="Method"),
        Column(key="e", heading="E", kind="figure"),
        Column(key="chance", heading="Chance", kind="number"),
        Column(key="pointing", heading="Pointing", kind="figure"),
        Column(key="trust", heading="Trust"),
    )
    rows: list[dict[str, Cell]] = [
        {
            "method": words(summary.method),
            "e": score_of(summary),
            "chance": value_of(chance_of(summary)),
            "pointing": score_of(summary, "pointing_game"),
            "trust": ": ".join([marked(verdict_of(summary)), *filter(None, [", ".join(failed_tests(summary.trust))])]),
        }
        for summary in summaries
    ]
    return Table(name="gallery_methods", title="The methods over all explained cases", columns=columns, rows=rows)


def _places(entries: Sequence[Entry], methods: Sequence[str]) -> dict[int, dict[str, int]]:
    """For each case, its place when sorted by certainty, or by E of a method from either end; undefined last."""
    orders: dict[str, Callable[[Entry], float]] = {"sure": lambda entry: -max(entry.probabilities, default=0.0)}
    for number, method in enumerate(methods):
        orders[f"low-{number}"] = lambda entry, method=method: _or_last(entry.e(method), 1)
        orders[f"high-{number}"] = lambda entry, method=method: _or_last(entry.e(method), -1)
    places: dict[int, dict[str, int]] = {entry.index: {} for entry in entries}
    for name, key in orders.items():
        for place, entry in enumerate(sorted(entries, key=key)):
            places[entry.index][name] = place
    return places


def _or_last(value: float | None, sign: int) -> float:
    return math.inf if value is None else sign * value


def _defined(scores: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: v if v is not None and math.isfinite(v) else None for name, v in scores.items()}
