# SPDX-License-Identifier: Apache-2.0
"""The look of all pictures: one palette, one axis style, one way to PNG (matplotlib without global state)."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from fedxai.report.words import number, short

# Okabe and Ito 2008: eight colours that people with colour vision deficiencies tell apart.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C8C8C")
INK, MUTED, LINE, ACCENT = "#17212b", "#5b6875", "#dde3e9", PALETTE[0]
WIDE = 5.4  # inches: half the page
REFERENCE: dict[str, Any] = {
    "marker": "|",
    "markersize": 14,
    "markeredgewidth": 1.8,
    "linestyle": "",
    "color": MUTED,
}
_PIXELS_PER_INCH = 200
_TEXT = 9.0


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One row of an interval chart: a value, its interval and the reference it is read against."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    reference: float | None = None


def new_picture(width: float, height: float, *, columns: int = 1, rows: int = 1) -> tuple[Picture, list[Axes]]:
    """An empty picture of so many inches, with its axes in reading order."""
    layout = ConstrainedLayoutEngine(wspace=0.06 if columns > 1 else 0.02)
    picture = Picture(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(picture)
    grid = picture.subplots(rows, columns, squeeze=False)
    return picture, [axes for row in grid for axes in row]


def png(picture: Picture) -> bytes:
    """The picture as PNG, the same bytes for the same picture."""
    buffer = io.BytesIO()
    picture.savefig(buffer, format="png", dpi=_PIXELS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def dress(axes: Axes, *, x: str = "", y: str = "", title: str = "", grid: str = "y") -> None:
    """Quiet axes: no box, light grid lines along one axis, labels in words."""
    for side in ("top", "right", "left" if grid == "y" else "bottom"):
        axes.spines[side].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color("#9aa5b1")
    axes.tick_params(labelsize=_TEXT, colors=MUTED, length=0, pad=5)
    axes.grid(axis="y" if grid == "y" else "x", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(x, fontsize=_TEXT, color=MUTED)
    axes.set_ylabel(y, fontsize=_TEXT, color=MUTED)
    if title:
        axes.set_title(title, fontsize=_TEXT + 1, color=INK, loc="left", fontweight="bold", pad=8)


def legend_below(picture: Picture, axes: Axes, *, columns: int = 3) -> None:
    """The legend under the picture, where it hides no data."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        picture.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            fontsize=_TEXT,
            labelcolor=INK,
            handlelength=1.6,
            columnspacing=1.4,
        )


def whole_numbers(axes: Axes) -> None:
    """Ticks of the x axis at whole numbers only, as rounds are."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))


def interval_chart(axes: Axes, bars: Sequence[Bar], *, colours: Sequence[str] = (ACCENT,), decimals: int = 3) -> None:
    """Rows from top to bottom: a dot with its interval, the value in figures, a tick for the reference."""
    for row, bar in enumerate(bars):
        colour = colours[row % len(colours)]
        if bar.low is not None and bar.high is not None:
            axes.plot([bar.low, bar.high], [row, row], color=colour, linewidth=2.2, solid_capstyle="round")
        if bar.reference is not None:
            axes.plot(
                [bar.reference],
                [row],
                marker="|",
                markersize=15,
                markeredgewidth=1.8,
                color=MUTED,
                linestyle="",
            )
        if bar.value is not None:
            axes.plot([bar.value], [row], marker="o", markersize=6.5, color=colour, linestyle="")
        text = number(bar.value, decimals) if bar.value is not None else "undefined"
        colour = INK if bar.value is not None else MUTED
        axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=_TEXT, color=colour)
    axes.set_yticks(range(len(bars)), [short(bar.label) for bar in bars])
    axes.set_ylim(max(len(bars), 1) - 0.5, -0.5)
    axes.tick_params(axis="y", labelsize=_TEXT, labelcolor=INK)
    fit_x(axes, bars)


def fit_x(axes: Axes, bars: Sequence[Bar], *, least: float = 0.1) -> None:
    """A range around all that is drawn, with a margin; where values are alike it widens downwards, not past 1 or 0."""
    drawn = [v for bar in bars for v in (bar.value, bar.low, bar.high, bar.reference) if v is not None] or [
        0.0,
        1.0,
    ]
    low, high = min(drawn), max(drawn)
    if high - low < least:
        low = min(low, max(0.0, high - least))
    margin = 0.08 * max(high - low, 1e-3)
    axes.set_xlim(low - margin, high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
