# SPDX-License-Identifier: Apache-2.0
"""A folder of PNG, JPEG or TIFF and a table become a cohort."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedxai.errors import CohortError
from fedxai.intake.cohort import Cohort
from fedxai.intake.patients import hold_out, join_repeats, pseudonyms
from fedxai.intake.pixels import Pixels, read_image, read_region, to_colour, to_gray
from fedxai.intake.progress import Track, quiet
from fedxai.intake.table import Columns, Row, number_labels, read_rows
from fedxai.intake.writing import CaseWriter, Taken, new_folder
from fedxai.records import Split


@dataclass(frozen=True, kw_only=True)
class RasterSettings:
    """How images and a table become a cohort."""

    validation: float = 0.1  # share of the cases, by whole patients
    test: float = 0.2
    class_names: Sequence[str] = ()  # in the order of their labels; the sorted names of the table if not given
    modality: str = "MRI"
    gray: bool = False  # one channel even where images have colour
    seed: int = 0  # draws the split and the pseudonyms


def take_raster(
    images: Path,
    table: Path,
    out: Path,
    *,
    columns: Columns,
    settings: RasterSettings,
    track: Track = quiet,
) -> Taken:
    """Turn image files and a table into a cohort of bare PNGs.

    Patients are split whole and class by class; identical images share a patient. The cohort is gray when
    every image is, and has three channels otherwise.

    Args:
        images: the folder that the table's image (and mask) paths are relative to.
        table: a CSV with a header.
        out: the cohort to make; must not exist or be empty.
        columns: which column says what.
        settings: shares, names, seed.
        track: shows progress.

    Raises:
        CohortError: a column, file or label is missing or wrong (the sentence names the row), or ``out``
            cannot be written; nothing is left behind.
    """
    if not images.is_dir():
        raise CohortError(f"--images '{images}' is not a folder.")
    rows = read_rows(table, columns)
    labels, names = number_labels([row.label for row in rows], settings.class_names)
    with new_folder(out) as folder:
        digests, coloured = _survey(rows, images, track)
        joined = join_repeats([row.group for row in rows], digests)
        splits = _splits(rows, joined, labels, settings)
        groups = pseudonyms(joined, seed=settings.seed)
        writer = CaseWriter(folder=folder)
        convert = to_colour if coloured and not settings.gray else to_gray
        for i in track(range(len(rows)), "Writing images"):
            _add(writer, rows[i], images, convert, split=splits[i], label=labels[i], group=groups[i])
        writer.finish(
            name=out.name,
            description=f"{len(rows)} images of {len(set(groups))} patients, taken in from image files",
            modality=settings.modality,
            class_names=names,
        )
    return Taken(cohort=Cohort.open(out), notes=_notes(rows, digests))


def _survey(rows: Sequence[Row], images: Path, track: Track) -> tuple[list[bytes], bool]:
    """Open every file once before anything is decided: digests of the pixels, and whether any has colour."""
    digests: list[bytes] = []
    coloured = False
    for row in track(rows, "Reading images"):
        pixels = read_image(images / row.image, what=f"image in row {row.number}")
        if row.mask:
            read_region(images / row.mask, what=f"mask in row {row.number}", size=pixels.shape)
        digests.append(hashlib.sha256(f"{pixels.shape}{pixels.dtype}".encode() + pixels.tobytes()).digest())
        coloured |= pixels.ndim == 3
    return digests, coloured


def _splits(rows: Sequence[Row], groups: Sequence[str], labels: Sequence[int], settings: RasterSettings) -> list[Split]:
    """Return each case's split: the table's own where it has one, else drawn by patients."""
    if rows[0].split is None:
        return hold_out(groups, labels, validation=settings.validation, test=settings.test, seed=settings.seed)
    splits: list[Split] = [row.split for row in rows if row.split is not None]
    homes: dict[str, Split] = {}
    for row, group, split in zip(rows, groups, splits, strict=True):
        if homes.setdefault(group, split) != split:
            raise CohortError(
                f"Row {row.number} is in {split}, but its patient (or the same image) is in {homes[group]} "
                "too; correct the split column."
            )
    return splits


def _add(
    writer: CaseWriter,
    row: Row,
    images: Path,
    convert: Callable[[Pixels], Pixels],
    *,
    split: Split,
    label: int,
    group: str,
) -> None:
    pixels = convert(read_image(images / row.image, what=f"image in row {row.number}"))
    region = None
    if row.mask:
        region = read_region(images / row.mask, what=f"mask in row {row.number}", size=pixels.shape)
    try:
        writer.add(pixels, split=split, label=label, group=group, region=region, tabular=row.tabular)
    except CohortError as error:
        raise CohortError(f"Row {row.number}: {error}") from None


def _notes(rows: Sequence[Row], digests: Sequence[bytes]) -> list[str]:
    notes: list[str] = []
    if not rows[0].grouped:
        notes.append("No group column: every image counts as a patient of its own; give --group-column if not so.")
    repeats = len(digests) - len(set(digests))
    if repeats:
        notes.append(f"{repeats} of {len(rows)} images repeat another exactly; repeats share a patient.")
    return notes
