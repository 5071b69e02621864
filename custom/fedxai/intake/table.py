# SPDX-License-Identifier: Apache-2.0
"""The table beside the images: which column says what, and every cell checked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from fedxai.errors import CohortError
from fedxai.records import Split

_SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("training", "train"), "training"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns; ``None`` for mask or group means "mask" or "group" where the table has it.

    ``None`` for label: the cases' labels are no concern of the table.
    """

    image: str = "image"
    label: str | None = "label"
    mask: str | None = None
    group: str | None = None
    split: str | None = None
    tabular: Sequence[str] = ()
    spacing: str | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case as the table tells it; ``number`` is its line in the file (the header is line 1)."""

    number: int
    image: str
    label: str
    mask: str
    group: str
    grouped: bool
    split: Split | None
    tabular: dict[str, float] = field(default_factory=dict)
    spacing: float | None = None  # mm from pixel to pixel


def read_rows(table: Path, columns: Columns) -> list[Row]:
    """Read and check the table.

    Raises:
        CohortError: it is missing, unreadable or empty, lacks a column, or has a cell that breaks a rule.
    """
    frame = _read_csv(table)
    mask = _optional(columns.mask, "mask", frame)
    group = _optional(columns.group, "group", frame)
    options = {
        "--image-column": columns.image,
        "--label-column": columns.label,
        "--mask-column": mask,
        "--group-column": group,
        "--split-column": columns.split,
        "--spacing-column": columns.spacing,
    }
    wanted = [*options.items(), *(("--tabular-column", name) for name in columns.tabular)]
    for option, name in wanted:
        if name is not None and name not in frame.columns:
            known = ", ".join(map(str, frame.columns))
            raise CohortError(f"{option} {name!r} is not in {table.name}; its columns are {known}.")
    if frame.empty:
        raise CohortError(f"{table.name} has a header but no rows.")
    records = frame.to_dict(orient="records")
    return [
        _row(i + 2, {str(k): str(v).strip() for k, v in record.items()}, columns, mask, group)
        for i, record in enumerate(records)
    ]


def number_labels(labels: Sequence[str], class_names: Sequence[str]) -> tuple[list[int], list[str]]:
    """Turn the table's labels into 0, 1, ... and name the classes.

    Labels may be names (numbered in the order of ``class_names``, else sorted) or the integers 0..K-1 (which
    ``class_names`` may name).

    Returns:
        Per case its number, and the names of the classes.

    Raises:
        CohortError: a label is not among ``class_names``, or beyond their number.
    """
    found = sorted(set(labels))
    numeric = all(label.isdecimal() for label in found)
    if not class_names:
        found = sorted(found, key=int) if numeric else found
        if numeric and [int(label) for label in found] != list(range(len(found))):
            raise CohortError(f"Integer labels must be 0..K-1, got {', '.join(found)}; give each a name instead.")
        return [found.index(label) for label in labels], found
    if len(set(class_names)) != len(class_names):
        raise CohortError(f"--class-name must differ from each other, got {', '.join(class_names)}.")
    if numeric and not set(found) <= set(class_names):
        if max(map(int, found)) >= len(class_names):
            raise CohortError(f"Labels go up to {max(map(int, found))}, but --class-name names {len(class_names)}.")
        return [int(label) for label in labels], list(class_names)
    unknown = [label for label in found if label not in class_names]
    if unknown:
        raise CohortError(f"Label {unknown[0]!r} is none of --class-name {', '.join(class_names)}.")
    return [list(class_names).index(label) for label in labels], list(class_names)


def _read_csv(table: Path) -> pd.DataFrame:
    """Read every cell as text, so that labels such as 007 or NA stay what they are."""
    if not table.is_file():
        raise CohortError(f"--table '{table}' does not exist.")
    try:
        with table.open(encoding="utf-8-sig") as opened:
            header = opened.readline()
        separator = max(",;\t", key=header.count)
        return pd.read_csv(table, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except pd.errors.EmptyDataError:
        raise CohortError(f"{table.name} is empty; it needs a header and a row per image.") from None
    except (OSError, ValueError) as error:
        raise CohortError(f"{table.name} is not a readable UTF-8 CSV ({type(error).__name__}).") from None


def _optional(given: str | None, usual: str, frame: pd.DataFrame) -> str | None:
    return usual if given is None and usual in frame.columns else given


def _row(number: int, cells: dict[str, str], columns: Columns, mask: str | None, group: str | None) -> Row:
    """Check one row; a message names the row and the column, never what stood in a patient's cell."""
    for name in (columns.image, columns.label, group, columns.split):
        if name is not None and not cells[name]:
            raise CohortError(f"Row {number} has an empty {name!r}; fill it or take the row out.")
    split = None
    if columns.split is not None:
        split = _SPLIT_WORDS.get(cells[columns.split].lower())
        if split is None:
            raise CohortError(f"Row {number}: {columns.split!r} must be training, validation or test.")
    return Row(
        number=number,
        image=cells[columns.image],
        label=cells[columns.label] if columns.label else "",
        mask=cells[mask] if mask else "",
        group=cells[group] if group else f"row {number}",
        grouped=group is not None,
        split=split,
        tabular={name: _number(cells[name], name, number) for name in columns.tabular if cells[name]},
        spacing=_length(cells[columns.spacing], number) if columns.spacing and cells[columns.spacing] else None,
    )


def _number(text: str, column: str, row: int) -> float:
    value = _float(text)
    if not math.isfinite(value):
        raise CohortError(f"Row {row}: --tabular-column {column!r} must hold finite numbers or nothing.")
    return value


def _length(text: str, row: int) -> float:
    value = _float(text)
    if not 0 < value < math.inf:
        raise CohortError(f"Row {row}: --spacing-column must hold lengths above 0 mm or nothing.")
    return value


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
