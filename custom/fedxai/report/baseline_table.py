# SPDX-License-Identifier: Apache-2.0
"""What another baseline changes: methods that compare with an image without information, by that image."""

from collections.abc import Sequence

from fedxai.figures import DECIMALS
from fedxai.records import MethodSummary
from fedxai.report.reading import chance_of, score_of, value_of
from fedxai.report.tables import Cell, Column, Table
from fedxai.report.verdict import marked, verdict_of
from fedxai.report.words import BASELINES, words

BLACK = "black"
_NOTE = (
    "The baseline is what stands for “nothing”: black, the mean of a site's training images, or the image itself, "
    "blurred. No one is right; where E or the pointing game hang on it, say less."
)


def baseline_table(summaries: Sequence[MethodSummary]) -> Table:
    """A row a method and baseline, where a method has several; each beside the first of its method."""
    by_method: dict[str, dict[str, MethodSummary]] = {}
    for summary in summaries:
        method, baseline = _parts(summary.method)
        by_method.setdefault(method, {})[baseline] = summary
    columns = (
        Column(key="method", heading="Method"),
        Column(key="baseline", heading="Baseline"),
        Column(key="e", heading="E", kind="figure"),
        Column(key="chance", heading="Chance", kind="number"),
        Column(key="pointing", heading="Pointing", kind="figure"),
        Column(key="e_difference", heading="E against the first", kind="number"),
        Column(key="trust", heading="Trust"),
    )
    rows: list[dict[str, Cell]] = [
        {
            "method": words(method),
            "baseline": baseline,
            "e": score_of(summary),
            "chance": value_of(chance_of(summary)),
            "pointing": score_of(summary, "pointing_game"),
            "e_difference": _difference(summary, next(iter(known.values()))),
            "trust": marked(verdict_of(summary)),
        }
        for method, known in by_method.items()
        if len(known) > 1
        for baseline, summary in known.items()
    ]
    return Table(name="baselines", title="What another baseline changes", columns=columns, rows=rows, note=_NOTE)


def _parts(name: str) -> tuple[str, str]:
    """``occlusion_blurred`` is occlusion against the blurred image."""
    stem, _, baseline = name.rpartition("_")
    return (stem, baseline) if baseline in BASELINES else (name, BLACK)


def _difference(summary: MethodSummary, first: MethodSummary) -> float | None:
    e, other = value_of(score_of(summary)), value_of(score_of(first))
    return None if summary is first or e is None or other is None else round(e - other, DECIMALS)
