# SPDX-License-Identifier: Apache-2.0
"""The files of a case under the check: readable, on one grid, with something in them."""

import hashlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedxai.errors import CohortError
from fedxai.intake.cohort import Cohort
from fedxai.intake.copies import Fingerprint
from fedxai.intake.finding import Finding, error, unreadable, warning
from fedxai.intake.stored import is_volume, read_values
from fedxai.records import Case, Split

_HALF = 127  # what a picture of a region is cut at, in the bundles here as in other readers
_SHIFT = 0.01  # mm that the affines of an image and its mask may differ


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A case with where it is: ``place`` names its file for people, ``prefix`` stands before its other files."""

    site: str
    split: Split
    case: Case
    cohort: Cohort
    prefix: str

    @property
    def place(self) -> str:
        """The image for people."""
        return self.name(self.case.image)

    def name(self, path: Path) -> str:
        """A file for people."""
        return self.prefix + path.relative_to(self.cohort.folder).as_posix()


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is kept of a readable image."""

    entry: Entry
    digest: bytes  # of its values
    answer: int | bytes  # its class, or the digest of its label map
    mark: Fingerprint | None  # volumes have none: only exact copies of them are found


@dataclass
class Seen:
    """What is kept of all images while going through them."""

    looks: list[Look] = field(default_factory=list)
    kinds: dict[str, set[str]] = field(default_factory=dict)
    classes: dict[tuple[str, Split], set[int]] = field(default_factory=dict)


def look_at_files(entry: Entry, seen: Seen) -> Iterator[Finding]:
    """Open a case's files and tell what is wrong with them; what is readable goes into ``seen``."""
    present = seen.classes.setdefault((entry.site, entry.split), set())
    if isinstance(entry.case.label, int):
        present.add(entry.case.label)
    try:
        values, place = read_values(entry.case.image, what="image")
    except CohortError as refused:
        yield unreadable(entry.place, refused)
        return
    if values.min() == values.max():
        yield warning("constant", entry.place, "the image has one value everywhere", "export it again")
    answer: int | bytes = 0 if isinstance(entry.case.label, Path) else entry.case.label
    for path in (entry.case.label, entry.case.region):
        if isinstance(path, Path):
            mask = yield from _mask(entry, path, values, place)
            if mask is not None and path == entry.case.label:
                marked, answer = {int(value) for value in np.unique(mask)}, _digest(mask)
                present |= marked
                yield from _about_label_map(entry, path, marked)
            elif mask is not None:
                yield from _about_region(entry, path, mask)
    seen.kinds.setdefault(_kind(values, entry.case.image), set()).add(entry.place)
    mark = None if is_volume(entry.case.image) else Fingerprint.take(values)
    seen.looks.append(Look(entry=entry, digest=_digest(values), answer=answer, mark=mark))


def _mask(
    entry: Entry, path: Path, values: NDArray[Any], place: NDArray[np.float64]
) -> Generator[Finding, None, NDArray[Any] | None]:
    """Read a mask and hold it against its image's grid."""
    try:
        mask, lies = read_values(path, what="mask")
    except CohortError as refused:
        yield unreadable(entry.name(path), refused)
        return None
    axes, words = (3, "voxels") if is_volume(entry.case.image) else (2, "rows, columns")
    if mask.shape[:axes] != values.shape[:axes] or is_volume(path) != is_volume(entry.case.image):
        what = f"the mask is {mask.shape[:axes]}, its image {values.shape[:axes]} ({words})"
        yield error("mask size", entry.name(path), what, "export the mask on the image's grid")
        return None
    if np.abs(lies - place).max() > _SHIFT:
        what = "the mask lies elsewhere in the patient than its image (their affines differ)"
        yield error("mask place", entry.name(path), what, "export the mask on the image's grid")
    return mask


def _about_region(entry: Entry, path: Path, mask: NDArray[Any]) -> Iterator[Finding]:
    place = entry.name(path)
    if not mask.any():
        yield error("empty mask", place, "the mask is empty", "draw the region, or list the case without one")
    elif not is_volume(path) and (largest := _largest(path)) <= _HALF:
        what = f"the mask's largest value is {largest}, and a picture's region is what is above {_HALF}"
        yield error("faint mask", place, what, "write the region as 255, in 8 bits of grey")
    elif mask.all():
        yield warning("full mask", place, "the region fills the image", "every explanation scores 1; draw it")


def _largest(path: Path) -> int:
    """The largest value as it is stored and as MONAI reads it: 1 in a picture of 1 bit, a palette's number."""
    with Image.open(path) as stored:
        return int(np.asarray(stored).max())


def _about_label_map(entry: Entry, path: Path, marked: set[int]) -> Iterator[Finding]:
    place, highest = entry.name(path), len(entry.cohort.class_names) - 1
    if not 0 <= min(marked) <= max(marked) <= highest:
        what = f"the label map has values from {min(marked)} to {max(marked)}, its classes are 0 to {highest}"
        yield error("unknown value", place, what, "correct the map, or name the value as a class")
    elif marked == {0}:
        yield warning("empty label map", place, "the label map is empty", "make sure that there is nothing to mark")


def _kind(values: NDArray[Any], path: Path) -> str:
    if is_volume(path):
        return "volumes" if values.ndim == 3 else f"volumes with {values.shape[3]} channels"
    return "gray" if values.ndim == 2 else "colour"


def _digest(values: NDArray[Any]) -> bytes:
    return hashlib.sha256(f"{values.shape}".encode() + np.ascontiguousarray(values).tobytes()).digest()
