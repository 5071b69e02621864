# SPDX-License-Identifier: Apache-2.0
"""Figures 2 and 3 of the paper from measured values: diagnosis, privacy, interpretability."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from fedxai.records import Comparison, Figure, SystemName
from fedxai.report.canvas import (
    ACCENT,
    INK,
    MUTED,
    REFERENCE,
    WIDE,
    Bar,
    dress,
    fit_x,
    interval_chart,
    new_picture,
    png,
)
from fedxai.report.measures import comparison_measures, is_length
from fedxai.report.seeds import (
    Read,
    explainability,
    explainability_chance,
    local_sites,
    metric,
    privacy,
    system_figure,
    system_trust,
    systems_present,
)
from fedxai.report.verdict import with_mark_of
from fedxai.report.words import in_a_sentence, number, words

_OTHERS = "#8fa3b5"


def comparison_figures(comparison: Comparison) -> dict[str, bytes]:
    """``figure_2`` and ``figure_3``, for the systems that have results."""
    return {"figure_2": _diagnosis(comparison), "figure_3": _three_sides(comparison)}


def _diagnosis(comparison: Comparison) -> bytes:
    """Figure 2: the two leading metrics; light dots are the models of single sites."""
    systems, measures = systems_present(comparison), comparison_measures(comparison)
    picture, panels = new_picture(2 * WIDE, 1.2 + 0.42 * max(len(systems), 1), columns=2)
    for axes, name in zip(panels, (measures.first, measures.second), strict=True):
        most = math.inf if is_length(name) else 1.0
        bars = [_bar(system, system_figure(comparison, system, metric(name), high=most)) for system in systems]
        alone = [
            system_figure(comparison, "local-only", metric(name), site=site).value for site in local_sites(comparison)
        ]
        alone = [value for value in alone if value is not None]
        if alone:
            row = systems.index("local-only")
            axes.plot(alone, [row] * len(alone), marker="o", markersize=5, linestyle="", color="#c3ced8", zorder=1)
        interval_chart(axes, bars, colours=[_colour(system) for system in systems])
        fit_x(axes, [*bars, *(Bar(label="", value=value) for value in alone)])
        dress(axes, title=words(name), grid="x")
    return png(picture)


def _three_sides(comparison: Comparison) -> bytes:
    """Figure 3: diagnostic accuracy, privacy and interpretability side by side."""
    systems, leading = systems_present(comparison), comparison_measures(comparison).first
    picture, panels = new_picture(2 * WIDE, 1.6 + 0.42 * max(len(systems), 1), columns=3)
    sides: tuple[tuple[str, str, Read], ...] = (
        ("Diagnostic accuracy", in_a_sentence(leading), metric(leading)),
        ("Privacy", "P over case records (Eq. 6)", privacy),
        ("Interpretability", "E, gradient × input; tick: chance", explainability),
    )
    for index, (axes, (title, x, read)) in enumerate(zip(panels, sides, strict=True)):
        figures = [system_figure(comparison, system, read) for system in systems]
        texts = [number(figure.value) if figure.value is not None else "not measured" for figure in figures]
        if read is explainability:
            texts = [with_mark_of(text, system_trust(comparison, s)) for text, s in zip(texts, systems, strict=True)]
        _bars(axes, systems, figures, texts, named=index == 0)
        dress(axes, title=title, x=x, grid="x")
        if read is explainability:
            _chance_ticks(axes, [system_figure(comparison, s, explainability_chance) for s in systems])
    return png(picture)


def _bars(
    axes: Axes, systems: Sequence[SystemName], figures: Sequence[Figure], texts: Sequence[str], *, named: bool
) -> None:
    for row, (system, figure, text) in enumerate(zip(systems, figures, texts, strict=True)):
        axes.barh(row, figure.value or 0.0, height=0.58, color=_colour(system))
        if figure.low is not None and figure.high is not None:
            axes.plot([figure.low, figure.high], [row, row], color=INK, linewidth=1.6, solid_capstyle="butt")
        axes.text(1.03, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9, color=INK)
    most = max([f.high or f.value or 0.0 for f in figures], default=1.0)
    axes.set_xlim(0, 1.0 if most > 0.6 else max(1.15 * most, 0.05))
    axes.set_ylim(max(len(systems), 1) - 0.5, -0.5)
    axes.set_yticks(range(len(systems)), [words(system) if named else "" for system in systems])


def _chance_ticks(axes: Axes, chances: Sequence[Figure]) -> None:
    for row, chance in enumerate(chances):
        if chance.value is not None:
            axes.plot([chance.value], [row], **{**REFERENCE, "color": "white", "markeredgewidth": 4})
            axes.plot([chance.value], [row], **{**REFERENCE, "color": INK})


def _bar(system: SystemName, figure: Figure) -> Bar:
    return Bar(label=words(system), value=figure.value, low=figure.low, high=figure.high)


def _colour(system: SystemName) -> str:
    return ACCENT if system == "FedXAI-Med" else MUTED if system == "federated" else _OTHERS
