# SPDX-License-Identifier: Apache-2.0
"""A folder of PNG, JPEG or TIFF and a table become a cohort."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedxai.errors import CohortError
from fedxai.intake.digest import digest_of
from fedxai.intake.intake_report import Taken
from fedxai.intake.picture_case import Picture, PictureCase
from fedxai.intake.pixels import has_colour, less_colour, read_image, read_region, to_colour, to_gray
from fedxai.intake.progress import Track, quiet
from fedxai.intake.table import Columns, Row, read_rows
from fedxai.intake.taking import IntakeSettings, take_cases
from fedxai.records import Split

_ALONE = "No group column: every image counts as a patient of its own; give --group-column if not so."


@dataclass(frozen=True, kw_only=True)
class RasterSource:
    """The files of one case, with what the table says of it (a :class:`fedxai.intake.taking.Source`)."""

    place: str
    patient: str
    image: Path
    label: str
    mask: Path | None = None
    split: Split | None = None
    tabular: Mapping[str, float] = field(default_factory=dict)
    spacing: float | None = None  # mm from pixel to pixel, where the table says it
    colour: bool = False  # stored with three channels, as all of its cohort; else with one
    gray: bool = False  # what has colour is stored without

    def fingerprint(self) -> bytes:
        """Digest the files, what the table says, and how they are stored."""
        said = [self.patient, self.label, self.split, sorted(self.tabular.items()), self.spacing, self.colour]
        return digest_of([self.image, self.mask], said)

    def read(self) -> PictureCase:
        """Read the files.

        Raises:
            CohortError: one of them is missing or cannot be used, or the image has a colour that the cohort has not.
        """
        pixels = less_colour(read_image(self.image, what="image"))
        if pixels.ndim == 3 and not (self.colour or self.gray):
            raise CohortError("It has colour and the images of the cohort have none; --gray takes it without.")
        region = None if self.mask is None else read_region(self.mask, what="mask", size=pixels.shape)
        return PictureCase(
            image=Picture(pixels=to_colour(pixels) if self.colour else to_gray(pixels)),
            label=self.label,
            region=None if region is None else Picture(pixels=region),
            split=self.split,
            tabular=self.tabular,
            spacing=(self.spacing, self.spacing) if self.spacing else None,
        )


def take_raster(
    images: Path,
    table: Path,
    out: Path,
    *,
    settings: IntakeSettings,
    columns: Columns = Columns(),
    gray: bool = False,
    track: Track = quiet,
) -> Taken:
    """Turn image files into a cohort of bare PNGs, or add to one what is new (:func:`fedxai.intake.taking.take_cases`).

    A new cohort is gray when every image is, and has three channels otherwise; one that grows stays as it is. Where
    the table has no group column, every image is a patient of its own.

    Args:
        images: the folder that the table's image (and mask) paths are relative to.
        table: a CSV with a header and one row per image.
        out: the cohort.
        settings: shares, names, seed, key, workers.
        columns: which column says what.
        gray: one channel even where images have colour.
        track: shows progress.

    Raises:
        CohortError: a folder or column is missing, nothing can be taken, or ``out`` cannot be written.
    """
    if not images.is_dir():
        raise CohortError(f"--images '{images}' is not a folder.")
    rows = read_rows(table, columns)
    colour = _in_colour([images / row.image for row in rows], out, gray, track)
    notes = [] if rows[0].grouped else [_ALONE]
    sources = [_source(row, images, colour=colour, gray=gray) for row in rows]
    return take_cases(sources, out, settings=settings, notes=notes, track=track)


def _source(row: Row, images: Path, *, colour: bool, gray: bool) -> RasterSource:
    return RasterSource(
        place=f"row {row.number}",
        patient=row.group if row.grouped else row.image,
        image=images / row.image,
        label=row.label,
        mask=images / row.mask if row.mask else None,
        split=row.split,
        tabular=row.tabular,
        spacing=row.spacing,
        colour=colour,
        gray=gray,
    )


def _in_colour(paths: Sequence[Path], out: Path, gray: bool, track: Track) -> bool:
    """Tell whether images get three channels: as what is stored already has, else where one of them has colour."""
    stored = next((out / "images").glob("*.png"), None)
    if stored is None:
        return not gray and any(has_colour(path) for path in track(paths, "Looking for colour"))
    colour = read_image(stored, what="image").ndim == 3
    if colour and gray:
        raise CohortError(f"--gray cannot be: the images in --out '{out}' have colour; choose a new folder.")
    return colour
