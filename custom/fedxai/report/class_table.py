# SPDX-License-Identifier: Apache-2.0
"""Where a segmentation network looks for each of its classes: a row a class, method and site."""

from collections.abc import Sequence

from fedxai.records import E_SCORE, ClassSummary, Comparison, MethodSummary, RunSummary, SystemName, SystemResult
from fedxai.report.reading import explanations_of, headline_model, method_named, value_of
from fedxai.report.seeds import Read, system_figure
from fedxai.report.tables import Cell, Column, Table
from fedxai.report.verdict import marked, verdict_of, verdict_over
from fedxai.report.words import words

_COLUMNS = (
    Column(key="class", heading="Class"),
    Column(key="method", heading="Method"),
    Column(key="e", heading="E", kind="figure"),
    Column(key="e_chance", heading="Chance", kind="figure"),
    Column(key="e_centred", heading="Centred blob", kind="figure"),
    Column(key="pointing", heading="Pointing", kind="figure"),
)
_TRUST = Column(key="trust", heading="Trust")
_KEYS = {
    "e": ("scores", E_SCORE),
    "e_chance": ("chance", E_SCORE),
    "e_centred": ("centred", E_SCORE),
    "pointing": ("scores", "pointing_game"),
}


def class_table(summary: RunSummary) -> Table:
    """The headline model's classes, all sites together and site by site; without a row for a classification."""
    model = headline_model(summary)
    answers = {"all sites": model.classes} if model else {}
    answers |= {site: answer.classes for site, answer in explanations_of(summary).items()}
    rows = [
        {"site": site, **row} for site, classes in answers.items() for row in _rows(classes, summary.bundle.class_names)
    ]
    counts = (
        _TRUST,
        Column(key="undefined", heading="Undefined", kind="count"),
        Column(key="scored", heading="Scored", kind="count"),
    )
    columns = (Column(key="site", heading="Site"), *_COLUMNS, *counts)
    return Table(name="classes", title="Where the model looks, class by class", columns=columns, rows=rows)


def system_class_table(comparison: Comparison) -> Table:
    """The systems' classes over seeds; without a row for a classification."""
    found: list[tuple[SystemName, int, str]] = [
        (result.system, part.class_index, method.method)
        for result in comparison.results
        for part in result.classes
        for method in part.methods
    ]
    rows: list[dict[str, Cell]] = [
        {
            "system": words(system),
            "class": comparison.bundle.class_names[index],
            "method": words(method),
            **{key: system_figure(comparison, system, _read(index, method, *of)) for key, of in _KEYS.items()},
            "trust": marked(
                verdict_over(
                    verdict_of(_of_class(result, index, method))
                    for result in comparison.results
                    if result.system == system
                )
            ),
        }
        for system, index, method in dict.fromkeys(found)
    ]
    columns = (Column(key="system", heading="System"), *_COLUMNS, _TRUST)
    return Table(name="classes", title="Where the systems look, class by class", columns=columns, rows=rows)


def _read(index: int, method: str, kind: str, score: str) -> Read:
    def read(result: SystemResult) -> float | None:
        found = _of_class(result, index, method)
        return value_of(getattr(found, kind).get(score)) if found else None

    return read


def _of_class(result: SystemResult, index: int, method: str) -> MethodSummary | None:
    classes = [part for part in result.classes if part.class_index == index]
    return method_named(classes[0].methods, method) if classes else None


def _rows(classes: Sequence[ClassSummary], names: Sequence[str]) -> list[dict[str, Cell]]:
    return [
        {
            "class": names[part.class_index],
            "method": words(method.method),
            **{key: getattr(method, kind).get(score) for key, (kind, score) in _KEYS.items()},
            "trust": verdict_of(method),
            "undefined": method.undefined.get(E_SCORE, 0),
            "scored": method.scored,
        }
        for part in classes
        for method in part.methods
    ]
