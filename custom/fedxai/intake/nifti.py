# SPDX-License-Identifier: Apache-2.0
"""A folder of volume files (NIfTI, NRRD, MetaImage), with label maps or a table, becomes a cohort."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fedxai.errors import CohortError
from fedxai.intake.digest import digest_of
from fedxai.intake.intake_report import Taken
from fedxai.intake.progress import Track, quiet
from fedxai.intake.table import Columns, Row, read_rows
from fedxai.intake.taking import IntakeSettings, take_cases
from fedxai.intake.volume import Volume
from fedxai.intake.volume_case import VolumeCase
from fedxai.intake.volume_file import SUFFIXES, Reading, read_volume
from fedxai.records import Split


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where the files lie; those of one case have the same name in each folder, less the suffix."""

    images: Path
    labels: Path | None = None  # label maps, one an image; then the cohort is for segmentation
    regions: Path | None = None  # masks of the relevant regions, where there are any
    table: Path | None = None  # CSV with a row per image


@dataclass(frozen=True, kw_only=True)
class NiftiSource:
    """The files of one case, with what the table says of it (a :class:`fedxai.intake.taking.Source`)."""

    place: str
    patient: str
    image: Path
    label: Path | str | None
    region: Path | None = None
    split: Split | None = None
    tabular: Mapping[str, float] = field(default_factory=dict)
    reading: Reading = field(default_factory=Reading)

    def fingerprint(self) -> bytes:
        """Digest the files and what is known beside them."""
        label, named = (self.label, None) if isinstance(self.label, Path) else (None, self.label)
        said = [self.patient, named, self.split, sorted(self.tabular.items()), self.reading]
        return digest_of([self.image, label, self.region], said)

    def read(self) -> VolumeCase:
        """Read the files.

        Raises:
            CohortError: one of them is missing or cannot be used.
        """
        if self.label is None:
            raise CohortError("It has no label map of its name in --labels.")
        masks = Reading(unplaced=self.reading.unplaced)
        label = self.label
        return VolumeCase(
            image=read_volume(self.image, what="image", reading=self.reading),
            label=self._label_map(label, masks) if isinstance(label, Path) else label,
            region=None if self.region is None else read_volume(self.region, what="region", reading=masks),
            split=self.split,
            tabular=self.tabular,
        )

    def _label_map(self, path: Path, masks: Reading) -> Volume:
        """Read a label map, with the values that were asked for renumbered."""
        given = read_volume(path, what="label map", reading=masks)
        values = self.reading.label_values
        if not values:
            return given
        unknown = np.setdiff1d(given.voxels, [0, *values])
        if len(unknown):
            raise CohortError(f"Its label map has the value {unknown[0]:g}, which is none of --label-value.")
        numbered = np.zeros(given.voxels.shape, np.uint8)
        for number, value in enumerate(values, start=1):
            numbered[given.voxels == value] = number
        return replace(given, voxels=numbered)


def take_nifti(
    folders: Folders,
    out: Path,
    *,
    settings: IntakeSettings,
    columns: Columns = Columns(),
    reading: Reading = Reading(),
    track: Track = quiet,
) -> Taken:
    """Turn volume files into a cohort, or add to one what is new (:func:`fedxai.intake.taking.take_cases`).

    With ``labels`` the cohort is for segmentation, and a table is optional; without, the table's label column says
    each case's class. Without a table, and where it has no group column, every image is a patient of its own.

    Args:
        folders: where the files lie.
        out: the cohort.
        settings: shares, names, seed, key, workers.
        columns: which column says what.
        reading: what is done with files that leave a question open.
        track: shows progress.

    Raises:
        CohortError: a folder or column is missing, nothing can be taken, or ``out`` cannot be written.
    """
    sources, notes = find_sources(folders, columns, reading)
    return take_cases(sources, out, settings=settings, notes=notes, track=track)


def find_sources(folders: Folders, columns: Columns, reading: Reading) -> tuple[list[NiftiSource], list[str]]:
    """List the cases, in the order of the table or of the file names, and what the person should know.

    Raises:
        CohortError: a folder is missing or holds no volume, or there is neither a table nor label maps.
    """
    images = _listed(folders.images, "--images")
    labels = None if folders.labels is None else _by_stem(folders.labels, "--labels")
    regions = {} if folders.regions is None else _by_stem(folders.regions, "--regions")
    if folders.table is not None:
        columns = columns if labels is None else replace(columns, label=None)
        rows = read_rows(folders.table, columns)
        sources = [_from_row(row, folders, labels, regions, reading) for row in rows]
        alone = not rows[0].grouped
    elif labels is None:
        raise CohortError("Labels are missing; give --labels for segmentation, or --table for classification.")
    else:
        sources = [_from_file(i, path, folders, labels, regions, reading) for i, path in enumerate(images, start=1)]
        alone = True
    notes = ["No patients are told apart: every image counts as a patient of its own; see --table."] if alone else []
    used = {path for source in sources for path in (source.label, source.region)}
    stray = len((set((labels or {}).values()) | set(regions.values())) - used)
    return sources, notes + ([f"{stray} label maps or regions belong to no image."] if stray else [])


def _from_file(
    number: int,
    image: Path,
    folders: Folders,
    labels: Mapping[str, Path],
    regions: Mapping[str, Path],
    reading: Reading,
) -> NiftiSource:
    stem = _stem(image, folders.images)
    return NiftiSource(
        place=f"image {number}",
        patient=stem,
        image=image,
        label=labels.get(stem),
        region=regions.get(stem),
        reading=reading,
    )


def _from_row(
    row: Row, folders: Folders, labels: Mapping[str, Path] | None, regions: Mapping[str, Path], reading: Reading
) -> NiftiSource:
    image = folders.images / row.image
    stem = _stem(image, folders.images)
    region = (folders.regions or folders.images) / row.mask if row.mask else regions.get(stem)
    return NiftiSource(
        place=f"row {row.number}",
        patient=row.group if row.grouped else stem,
        image=image,
        label=row.label if labels is None else labels.get(stem),
        region=region,
        split=row.split,
        tabular=row.tabular,
        reading=reading,
    )


def _listed(folder: Path, option: str) -> list[Path]:
    """Return the volume files below a folder, sorted; hidden ones (``._scan.nii`` of a Mac) are none."""
    if not folder.is_dir():
        raise CohortError(f"{option} '{folder}' is not a folder.")
    found = [path for path in folder.rglob("*") if path.name.lower().endswith(SUFFIXES)]
    found = sorted(path for path in found if not path.name.startswith(".") and path.is_file())
    if not found:
        raise CohortError(f"{option} '{folder}' holds no {', '.join(SUFFIXES)}.")
    return found


def _by_stem(folder: Path, option: str) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for path in _listed(folder, option):
        if paths.setdefault(_stem(path, folder), path) != path:
            raise CohortError(f"{option} has two files of one name with different suffixes; keep one of each.")
    return paths


def _stem(path: Path, folder: Path) -> str:
    """A file's name below a folder without its suffix, nor the ``.seg`` of 3D Slicer."""
    name = path.relative_to(folder).as_posix()
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    return name.removesuffix(name[len(name) - len(suffix) :]).removesuffix(".seg")
