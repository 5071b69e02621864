# SPDX-License-Identifier: Apache-2.0
"""How E and accuracy changed from one run to another, over all sites and site by site."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from fedxai.bundle.trained import RESULTS
from fedxai.errors import RunError
from fedxai.records import E_SCORE, Figure, MethodSummary, Record, RunSummary
from fedxai.report.reading import (
    chance_of,
    evaluations_of,
    explanations_of,
    headline_method,
    headline_model,
    method_named,
    score_of,
)

ALL = "all sites"
_METRICS = ("macro_auc", "accuracy", "balanced_accuracy", "mean_dice")


class Change(Record):
    """One figure before and after."""

    where: str
    figure: str
    before: Figure
    after: Figure

    @property
    def difference(self) -> float | None:
        """After minus before; None where one of them is not there."""
        one, other = self.before.value, self.after.value
        return None if one is None or other is None else other - one


def read_run(folder: Path) -> RunSummary:
    """What a run left.

    Raises:
        RunError: the folder is no run, or its summary cannot be read.
    """
    files = [file for part in RESULTS for file in sorted(folder.glob(f"{part}/summary.json"))]
    if not files:
        raise RunError(f"{folder.name!r} is no run: it has no summary.json")
    try:
        return RunSummary.model_validate_json(files[0].read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise RunError(f"the summary of run {folder.name!r} cannot be read") from error


def changes(before: RunSummary, after: RunSummary) -> list[Change]:
    """Accuracy, E and its chance level of the two runs' headline models; sites that are in both.

    Raises:
        RunError: the runs are of different bundles, whose figures say nothing about each other.
    """
    if before.bundle.name != after.bundle.name:
        raise RunError(f"the runs are of different bundles: {before.bundle.name} and {after.bundle.name}")
    sides = [dict(_figures(run)) for run in (before, after)]
    return [
        Change(where=where, figure=figure, before=sides[0][where, figure], after=sides[1][where, figure])
        for where, figure in sides[0]
        if (where, figure) in sides[1]
    ]


def _figures(run: RunSummary) -> Iterator[tuple[tuple[str, str], Figure]]:
    model = headline_model(run)
    if model is not None:
        yield from _of(ALL, model.metrics, headline_method(model.explanation))
    evaluations, explanations = evaluations_of(run), explanations_of(run)
    shown = headline_method(model.explanation) if model else None
    for site, evaluation in evaluations.items():
        methods = explanations[site].methods if site in explanations else []
        yield from _of(site, evaluation.metrics, method_named(methods, shown.method) if shown else None)


def _of(
    where: str, metrics: Mapping[str, Figure], method: MethodSummary | None
) -> Iterator[tuple[tuple[str, str], Figure]]:
    for name in _METRICS:
        if name in metrics:
            yield (where, name), metrics[name]
    for name, found in (("E", score_of(method, E_SCORE)), ("chance of E", chance_of(method, E_SCORE))):
        if found is not None:
            yield (where, name), found
