# SPDX-License-Identifier: Apache-2.0
"""The pictures of a federated run: curves, figures by site, confusion, where the model looks, bytes."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes

from fedxai.records import Figure, RunSummary
from fedxai.report.accuracy_figure import explanation_accuracy
from fedxai.report.canvas import (
    ACCENT,
    INK,
    LINE,
    MUTED,
    REFERENCE,
    WIDE,
    Bar,
    dress,
    interval_chart,
    legend_below,
    new_picture,
    png,
)
from fedxai.report.learning_curves import explanation_methods_rounds, explanation_rounds, learning_loss, learning_metric
from fedxai.report.measures import run_measures
from fedxai.report.reading import (
    chance_of,
    evaluations_of,
    explanations_of,
    headline_method,
    headline_model,
    method_of,
    score_of,
    shown_method,
    value_of,
)
from fedxai.report.verdict import with_mark
from fedxai.report.words import count, short, size, words

ALL_SITES = "all sites"
_MOST_CONFUSIONS = 12


def run_figures(summary: RunSummary) -> dict[str, bytes]:
    """Every picture of the run that the summary has figures for: name to PNG."""
    drawn = {name: draw(summary) for name, draw in _DRAWERS.items()}
    return {name: picture for name, picture in drawn.items() if picture is not None}


def _first_metric_sites(summary: RunSummary) -> bytes | None:
    return _metric_sites(summary, run_measures(summary).first)


def _second_metric_sites(summary: RunSummary) -> bytes | None:
    return _metric_sites(summary, run_measures(summary).second)


def _metric_sites(summary: RunSummary, metric: str) -> bytes | None:
    """One metric of all sites together, in black, and of each."""
    evaluations, model = evaluations_of(summary), headline_model(summary)
    if not evaluations:
        return None
    bars = [_bar(ALL_SITES, model.metrics.get(metric))] if model else []
    bars += [_bar(name, evaluation.metrics.get(metric)) for name, evaluation in evaluations.items()]
    picture, (axes,) = new_picture(WIDE, 1.0 + 0.34 * len(bars))
    interval_chart(axes, bars, colours=_colours(bars))
    dress(axes, title=f"{words(metric)} by site", grid="x")
    return png(picture)


def _explanation_methods(summary: RunSummary) -> bytes | None:
    model = headline_model(summary)
    if model is None or not model.explanation:
        return None
    bars = [_bar(with_mark(words(part.method), part), score_of(part), chance_of(part)) for part in model.explanation]
    return _against_chance(bars, "E by method, all sites")


def _explanation_sites(summary: RunSummary) -> bytes | None:
    name, model = shown_method(summary), headline_model(summary)
    pooled = headline_method(model.explanation) if model else None
    answers = {ALL_SITES: pooled}
    answers |= {site: method_of(answer, name) for site, answer in explanations_of(summary).items()}
    bars = [
        _bar(ALL_SITES if site == ALL_SITES else with_mark(site, part), score_of(part), chance_of(part))
        for site, part in answers.items()
        if part is not None
    ]
    return _against_chance(bars, with_mark(f"E by site, {words(name).lower()}", pooled))


def _against_chance(bars: Sequence[Bar], title: str) -> bytes | None:
    if all(bar.value is None for bar in bars):
        return None
    picture, (axes,) = new_picture(WIDE, 1.5 + 0.34 * len(bars))
    axes.plot([], [], marker="o", linestyle="", color=ACCENT, label="E with 95 % interval")
    axes.plot([], [], label="chance", **REFERENCE)
    interval_chart(axes, bars, colours=_colours(bars))
    dress(axes, title=title, grid="x")
    if all((bar.value or 0) >= 0 for bar in bars):
        axes.set_xlim(left=0)
    legend_below(picture, axes)
    return png(picture)


def _colours(bars: Sequence[Bar]) -> list[str]:
    return [INK if bar.label == ALL_SITES else ACCENT for bar in bars]


def _confusion(summary: RunSummary) -> bytes | None:
    model = headline_model(summary)
    if model is None or not model.confusion:
        return None
    side = max(3.0, 0.75 * len(model.confusion) + 1.6)
    picture, (axes,) = new_picture(side + 0.5, side)
    _matrix(axes, model.confusion, summary.bundle.class_names, title="All sites")
    return png(picture)


def _confusion_sites(summary: RunSummary) -> bytes | None:
    matrices = {name: e.confusion for name, e in evaluations_of(summary).items() if e.confusion}
    if len(matrices) < 2 or len(matrices) > _MOST_CONFUSIONS:
        return None
    columns = 2 if len(matrices) <= 4 else 4
    rows = math.ceil(len(matrices) / columns)
    side = max(2.1, 0.55 * max(map(len, matrices.values())) + 1.1)
    picture, panels = new_picture(columns * (side + 0.35), rows * side, columns=columns, rows=rows)
    for axes, (name, matrix) in zip(panels, matrices.items(), strict=False):
        _matrix(axes, matrix, summary.bundle.class_names, title=short(name), bare=True)
    for axes in panels[len(matrices) :]:
        axes.set_visible(False)
    return png(picture)


def _matrix(
    axes: Axes, matrix: list[list[int | None]], class_names: list[str], *, title: str, bare: bool = False
) -> None:
    """Counts, coloured by their share of the true class; a cell that was held back is hatched by its text."""
    counts = np.array([[cell or 0 for cell in row] for row in matrix], dtype=float)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1.15, aspect="equal")
    for row, cells in enumerate(matrix):
        for column, cell in enumerate(cells):
            dark = share[row, column] > 0.6
            text, colour = ("*", MUTED) if cell is None else (count(cell), "white" if dark else INK)
            axes.text(column, row, text, ha="center", va="center", fontsize=9 if bare else 10, color=colour)
    names = [short(name, 16) for name in class_names]
    names = names if len(names) == len(matrix) else [str(index) for index in range(len(matrix))]
    dress(axes, title=title, x="" if bare else "Predicted", y="" if bare else "True")
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    size_ = 7.5 if bare else 9
    axes.set_xticks(range(len(names)), names, fontsize=size_)
    if max(map(len, names), default=0) > 6:
        for label in axes.get_xticklabels():
            label.set(rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names, fontsize=size_)


def _bytes(summary: RunSummary) -> bytes | None:
    """Bytes by kind on a logarithmic axis, because updates are thousands of times larger than figures."""
    held = summary.privacy.bytes_total
    parts = [(words(part.kind), part.bytes, ACCENT) for part in summary.bytes if part.bytes]
    parts = [("Held at the sites", held, "#8c97a3")] * bool(held) + sorted(parts, key=lambda part: -part[1])
    if not parts:
        return None
    picture, (axes,) = new_picture(WIDE, 1.1 + 0.42 * len(parts))
    least = min(value for _, value, _ in parts) / 10
    for row, (_, value, colour) in enumerate(parts):
        axes.plot([least, value], [row, row], color=LINE, linewidth=2, solid_capstyle="butt", zorder=1)
        axes.plot([value], [row], marker="o", markersize=8, color=colour, linestyle="")
        axes.annotate(size(value), (value, row), (9, 0), textcoords="offset points", va="center", fontsize=9, color=INK)
    axes.set_xscale("log")
    axes.set_xlim(least, max(value for _, value, _ in parts) * 30)
    axes.set_ylim(len(parts) - 0.5, -0.5)
    dress(axes, title="Bytes that left, beside the bytes held", x="bytes, logarithmic axis", grid="x")
    axes.set_yticks(range(len(parts)), [label for label, _, _ in parts], color=INK)
    axes.minorticks_off()
    return png(picture)


def _bar(label: str, figure: Figure | None, reference: Figure | None = None) -> Bar:
    if figure is None:
        return Bar(label=label, value=None, reference=value_of(reference))
    chance = value_of(reference)
    return Bar(label=label, value=figure.value, low=figure.low, high=figure.high, reference=chance)


_DRAWERS: dict[str, Callable[[RunSummary], bytes | None]] = {
    "learning_loss": learning_loss,
    "learning_metric": learning_metric,
    "first_metric_sites": _first_metric_sites,
    "second_metric_sites": _second_metric_sites,
    "confusion": _confusion,
    "confusion_sites": _confusion_sites,
    "explanation_methods": _explanation_methods,
    "explanation_sites": _explanation_sites,
    "explanation_rounds": explanation_rounds,
    "explanation_methods_rounds": explanation_methods_rounds,
    "explanation_accuracy": explanation_accuracy,
    "bytes": _bytes,
}
FIGURE_NAMES = tuple(_DRAWERS)
