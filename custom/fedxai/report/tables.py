# SPDX-License-Identifier: Apache-2.0
"""A table that is shown in a page and written as CSV from the same cells."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup

from fedxai.records import Figure
from fedxai.report.words import UNKNOWN, count, duration, number, probability, size

Kind = Literal["text", "count", "number", "probability", "figure", "bytes", "seconds"]
Cell = str | int | float | Figure | None

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: its key in the rows and in the CSV, its heading on the page, and what it holds."""

    key: str
    heading: str
    kind: Kind = "text"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells under typed columns; ``name`` is the stem of its CSV file."""

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[dict[str, Cell]]
    note: str = ""
    emphasised: frozenset[int] = field(default_factory=frozenset)  # rows of totals

    def csv(self) -> bytes:
        """The cells unrounded; a figure becomes four columns: ``key``, ``key_low``, ``key_high``, ``key_n``.

        Undefined cells are empty. A text that a spreadsheet would run as a formula gets a leading apostrophe.
        """
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(name for column in self.columns for name in _csv_names(column))
        for row in self.rows:
            writer.writerow(cell for column in self.columns for cell in _csv_cells(column, row[column.key]))
        return buffer.getvalue().encode()


def _csv_names(column: Column) -> list[str]:
    if column.kind != "figure":
        return [column.key]
    return [column.key, *(f"{column.key}_{part}" for part in ("low", "high", "n"))]


def _csv_cells(column: Column, cell: Cell) -> list[str | int | float]:
    if column.kind == "figure":
        figure = cell if isinstance(cell, Figure) else None
        values = (figure.value, figure.low, figure.high, figure.n) if figure else (None,) * 4
        return ["" if value is None else value for value in values]
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return [""]
    if isinstance(cell, str) and cell.startswith(_FORMULA):
        return [f"'{cell}"]
    return [cell if isinstance(cell, str | int | float) else str(cell)]


def show(cell: Cell, kind: Kind) -> str:
    """A cell as the page shows it; a figure as its value with the 95 % interval in small beside it."""
    if cell is None or cell == "":
        return UNKNOWN
    if isinstance(cell, Figure):
        return show_figure(cell)
    if isinstance(cell, str | bool):
        return str(cell)
    if not math.isfinite(cell):
        return UNKNOWN
    formats: dict[Kind, Callable[..., str]] = {
        "count": count,
        "number": number,
        "probability": probability,
        "bytes": size,
        "seconds": duration,
    }
    return formats.get(kind, str)(cell)


def show_interval(low: float, high: float) -> str:
    """``0.931–0.972``; with a word between where a minus sign would meet the dash."""
    ends = [number(low), number(high)]
    return ("–" if all(end[:1].isdigit() for end in ends) else " to ").join(ends)


def show_figure(figure: Figure | None) -> str:
    """``0.954`` with ``0.931–0.972`` in small; only the value where the interval has no width."""
    if figure is None or figure.value is None:
        return UNKNOWN
    if figure.low is None or figure.high is None or figure.low == figure.high:
        return number(figure.value)
    interval = show_interval(figure.low, figure.high)
    return Markup('{} <span class="ci">{}</span>').format(number(figure.value), interval)
