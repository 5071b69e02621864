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
from fedxai.report.measures import selection_name
from fedxai.report.reading import (
    final_method,
    method_of,
    round_scores,
    score_of,
    shown_method,
    site_names,
    value_of,
)
from fedxai.report.verdict import with_mark
from fedxai.report.words import in_a_sentence, short, words

_MOST_COLOURED = 7  # more sites than this become grey lines behind the mean

Points = dict[int, float]


def learning_loss(summary: RunSummary) -> bytes | None:
    """Validation loss of every site and the global loss (Eq. 3)."""
    return _curves(
        _points_by_site(summary, lambda report: value_of(report.validation.get("loss"))),
        _points(summary, lambda part: part.global_loss),
        label="all sites (Eq. 3)",
        title="Validation loss",
    )


def learning_metric(summary: RunSummary) -> bytes | None:
    """The metric that selects the best model, of every site and over all."""
    name = selection_name(summary)
    return _curves(
        _points_by_site(summary, lambda report: value_of(report.validation.get(name))),
        _points(summary, lambda part: part.selection_metric),
        label="all sites",
        title=f"Validation {in_a_sentence(name)}",
    )


def explanation_rounds(summary: RunSummary) -> bytes | None:
    """E of every site and of all, with the chance level, in the rounds that explained."""
    name = shown_method(summary)
    return _curves(
        _points_by_site(summary, lambda report: value_of(score_of(method_of(report.explanation, name)))),
        _points(summary, lambda part: round_scores(part, name)[0]),
        chance=_points(summary, lambda part: round_scores(part, name)[1]),
        label="all sites",
        title=with_mark(f"E while training, {words(name).lower()}", final_method(summary, name)),
    )


def explanation_methods_rounds(summary: RunSummary) -> bytes | None:
    """E of every method over all sites; None where the rounds explained with one method only."""
    answers = [site.explanation for part in summary.rounds for site in part.sites if site.explanation]
    names = list(dict.fromkeys(method.method for answer in answers for method in answer.methods))
    if len(names) < 2:
        return None
    points = {
        with_mark(words(name), final_method(summary, name)): _points(
            summary, lambda part, name=name: round_scores(part, name)[0]
        )
        for name in names
    }
    chance = _points(summary, lambda part: round_scores(part, names[0])[1])
    return _curves(points, {}, chance=chance, label="", title="E while training, by method", all_named=True)


def _points(summary: RunSummary, read: Callable[[RoundSummary], float | None]) -> Points:
    return {part.round: value for part in summary.rounds if (value := read(part)) is not None}


def _points_by_site(summary: RunSummary, read: Callable[[SiteRound], float | None]) -> dict[str, Points]:
    points: dict[str, Points] = {name: {} for name in site_names(summary)}
    for part in summary.rounds:
        for report in part.sites:
            if (value := read(report)) is not None:
                points[report.name][part.round] = value
    return points


def _curves(
    lines: dict[str, Points],
    together: Points,
    *,
    label: str,
    title: str,
    chance: Points | None = None,
    all_named: bool = False,
) -> bytes | None:
    """One thin line a site (or method) and one bold line for all; None where nothing is known."""
    rounds = sorted({*together, *(round_ for points in lines.values() for round_ in points)})
    if not rounds:
        return None
    few = all_named or len(lines) <= _MOST_COLOURED
    picture, (axes,) = new_picture(WIDE, 3.7 if few else 3.4)
    for index, (name, points) in enumerate(lines.items()):
        again, colour = divmod(index, len(PALETTE))  # once the colours are used up, the next lines are dashed
        shade = PALETTE[colour] if few else "#b4bdc6"
        _line(axes, rounds, points, colour=shade, width=1.3, label=short(name) if few else None, dashed=bool(again))
    _line(axes, rounds, chance or {}, colour=MUTED, width=1.4, label="chance", dashed=True)
    _line(axes, rounds, together, colour=INK, width=2.6, label=label)
    dress(axes, x="Round", title=title)
    whole_numbers(axes)
    if chance:
        axes.set_ylim(bottom=0)
    legend_below(picture, axes, columns=3 if max(map(len, lines), default=0) < 12 else 2)
    return png(picture)


def _line(
    axes: Axes,
    rounds: Sequence[int],
    points: Points,
    *,
    colour: str,
    width: float,
    label: str | None,
    dashed: bool = False,
) -> None:
    """A gap stays a gap: a round in which others have a value and this line has none breaks it."""
    if not points:
        return
    axes.plot(
        rounds,
        [points.get(round_, math.nan) for round_ in rounds],
        color=colour,
        linewidth=width,
        linestyle=(0, (4, 3)) if dashed else "-",
        marker="" if len(rounds) > 30 or (dashed and len(rounds) > 1) else "o",
        markersize=width + 2.4,
        label=label,
    )
