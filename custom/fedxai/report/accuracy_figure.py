# SPDX-License-Identifier: Apache-2.0
"""E against accuracy, or against Dice: one point a site and model, because neither replaces the other."""

from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.axes import Axes

from fedxai.records import Figure, ModelSummary, RunSummary
from fedxai.report.canvas import INK, LINE, MUTED, PALETTE, WIDE, dress, legend_below, new_picture, png
from fedxai.report.measures import run_measures
from fedxai.report.reading import (
    chance_of,
    final_method,
    method_of,
    score_of,
    shown_method,
    value_of,
)
from fedxai.report.verdict import with_mark
from fedxai.report.words import in_a_sentence, short, words

_MOST_COLOURED = 7
_FILLED = {"best": True, "last": False}


@dataclass(frozen=True, kw_only=True)
class _Point:
    site: str
    which: str
    accuracy: Figure
    e: Figure


def explanation_accuracy(summary: RunSummary) -> bytes | None:
    """E of the shown method against accuracy (Dice) on the test cases; None where no site has both."""
    name, metric = shown_method(summary), run_measures(summary).share
    points = [point for model in summary.final for point in _points(model, name, metric)]
    if not points:
        return None
    sites = list(dict.fromkeys(point.site for point in points))
    few = len(sites) <= _MOST_COLOURED
    colours = {site: PALETTE[index] if few else "#8fa3b5" for index, site in enumerate(sites)}
    picture, (axes,) = new_picture(WIDE, 3.9)
    for point in points:
        _draw(axes, point, colours[point.site])
    method = final_method(summary, name)
    chance = value_of(chance_of(method))
    if chance is not None:
        axes.axhline(chance, color=MUTED, linewidth=1.4, linestyle=(0, (4, 3)), label="chance, all sites")
    _explain_marks(axes, {site: colours[site] for site in sites} if few else {}, {point.which for point in points})
    title = with_mark(f"E against {in_a_sentence(metric)}, {words(name).lower()}", method)
    dress(axes, x=f"{words(metric)} on the site's test cases", y="E", title=title)
    axes.grid(axis="x", color=LINE, linewidth=0.8)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    legend_below(picture, axes, columns=3 if max(map(len, sites)) < 12 else 2)
    return png(picture)


def _points(model: ModelSummary, method: str, metric: str) -> Iterator[_Point]:
    for site, evaluation in model.evaluations.items():
        accuracy = evaluation.metrics.get(metric)
        e = score_of(method_of(model.explanations.get(site), method))
        if accuracy is not None and e is not None and accuracy.value is not None and e.value is not None:
            yield _Point(site=site, which=model.which, accuracy=accuracy, e=e)


def _draw(axes: Axes, point: _Point, colour: str) -> None:
    x, y = point.accuracy, point.e
    for figure, line in ((x, axes.hlines), (y, axes.vlines)):
        other = y.value if figure is x else x.value
        if figure.low is not None and figure.high is not None and other is not None:
            line(other, figure.low, figure.high, color=colour, linewidth=1, alpha=0.35)
    face = colour if _FILLED[point.which] else "white"
    axes.plot(
        [x.value or 0.0],
        [y.value or 0.0],
        marker="o",
        markersize=7.5 if _FILLED[point.which] else 9.5,
        markerfacecolor=face,
        markeredgecolor=colour,
        markeredgewidth=1.6,
        linestyle="",
        zorder=3 if _FILLED[point.which] else 2,
    )


def _explain_marks(axes: Axes, colours: dict[str, str], models: set[str]) -> None:
    for site, colour in colours.items():
        axes.plot([], [], marker="o", linestyle="", color=colour, label=short(site))
    for which in sorted(models):
        face = INK if _FILLED[which] else "white"
        axes.plot(
            [],
            [],
            marker="o",
            linestyle="",
            markerfacecolor=face,
            markeredgecolor=INK,
            label=f"{which} model",
        )
