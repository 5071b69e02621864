# SPDX-License-Identifier: Apache-2.0
"""Curves against the round: loss (Eq. 3), selection metric and E, one line a site and one for all."""

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes

from fedxai.records import RoundSummary, RunSummary, SiteRound
from fedxai.report.canvas import (
    INK,
    MUTED,
    PALETTE,
    WIDE,
    dress,
    legend_below,
    new_picture,
    png,
    whole_numbers,
)
from fedxai.report.reading import method_of, round_scores, score_of, shown_method, site_names, value_of
from fedxai.report.words import short, words

_MOST_COLOURED = 7  # more sites than this become grey lines behind the mean


def learning_loss(summary: RunSummary) -> bytes | None:
    return _curves(
        summary,
        site=lambda report: value_of(report.validation.get("loss")),
        together=lambda part: part.global_loss,
        label="all sites (Eq. 3)",
        y="Validation loss",
    )


def learning_auc(summary: RunSummary) -> bytes | None:
    return _curves(
        summary,
        site=lambda report: value_of(report.validation.get("macro_auc")),
        together=lambda part: part.selection_metric,
        label="selection metric",
        y="Validation macro AUC",
    )


def explanation_rounds(summary: RunSummary) -> bytes | None:
    name = shown_method(summary)
    return _curves(
        summary,
        site=lambda report: value_of(score_of(method_of(report.explanation, name))),
        together=lambda part: round_scores(part, name)[0],
        chance=lambda part: round_scores(part, name)[1],
        label="all sites",
        y=f"E, {words(name).lower()}",
    )


def _curves(
    summary: RunSummary,
    *,
    site: Callable[[SiteRound], float | None],
    together: Callable[[RoundSummary], float | None],
    label: str,
    y: str,
    chance: Callable[[RoundSummary], float | None] | None = None,
) -> bytes | None:
    """One thin line a site and one bold line for all, against the round; None where nothing is known."""
    names = site_names(summary)
    lines = {name: [] for name in names}
    for part in summary.rounds:
        for report in part.sites:
            value = site(report)
            if value is not None:
                lines[report.name].append((part.round, value))
    bold = [(part.round, value) for part in summary.rounds if (value := together(part)) is not None]
    if not bold and not any(lines.values()):
        return None
    few = len(names) <= _MOST_COLOURED
    picture, (axes,) = new_picture(WIDE, 3.5 if few else 3.2)
    for index, name in enumerate(names):
        colour = PALETTE[index] if few else "#b4bdc6"
        _line(axes, lines[name], colour=colour, width=1.3, label=short(name) if few else None)
    if chance is not None:
        level = [(part.round, value) for part in summary.rounds if (value := chance(part)) is not None]
        _line(axes, level, colour=MUTED, width=1.4, label="chance", style=(0, (4, 3)))
    _line(axes, bold, colour=INK, width=2.6, label=label)
    dress(axes, x="Round", y=y)
    whole_numbers(axes)
    legend_below(picture, axes)
    return png(picture)


def _line(
    axes: Axes,
    points: Sequence[tuple[int, float]],
    *,
    colour: str,
    width: float,
    label: str | None,
    style: str | tuple[int, tuple[int, ...]] = "-",
) -> None:
    """A gap stays a gap: rounds without a value break the line."""
    if not points:
        return
    known = dict(points)
    rounds = range(min(known), max(known) + 1)
    # where a figure comes only every k rounds, the gaps are the schedule and not an absence: join them
    regular = len({b - a for (a, _), (b, _) in zip(points, points[1:], strict=False)}) <= 1
    x = [r for r in rounds if r in known or not regular]
    axes.plot(
        x,
        [known.get(r, math.nan) for r in x],
        color=colour,
        linewidth=width,
        linestyle=style,
        marker="o" if len(known) <= 30 else "",
        markersize=width + 2.4,
        label=label,
    )
