# SPDX-License-Identifier: Apache-2.0
"""A cohort's stored files, whether images or volumes, as arrays and as pictures for people."""

import os
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fedxai.errors import CohortError
from fedxai.intake.pixels import read_image
from fedxai.intake.volume import SUFFIX
from fedxai.intake.volume_file import read_volume

_DAMAGED = (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError)


def is_volume(path: Path) -> bool:
    """Whether a cohort stores a volume under this name."""
    return path.name.endswith(SUFFIX)


def read_values(path: Path, *, what: str) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Read an image, (rows, columns[, 3]), or a volume, (X, Y, Z[, C]).

    Returns:
        The values, and where they lie: a volume's affine, an image's (rows, columns); masks have that of their image.

    Raises:
        CohortError: it cannot be read; the message calls it ``what``.
    """
    if is_volume(path):
        volume = read_volume(path, what=what)
        return volume.voxels, volume.affine
    pixels = read_image(path, what=what)
    return pixels, np.array(pixels.shape[:2], dtype=np.float64)


def voxel_type(path: Path) -> str:
    """How the values are stored (``uint8``, ``float32``), from the header alone where it is a volume's.

    Raises:
        CohortError: it cannot be read.
    """
    if not is_volume(path):
        return str(read_image(path, what="image").dtype)
    try:
        header: Any = nib.load(path).header
        return str(header.get_data_dtype())
    except _DAMAGED:
        raise CohortError(f"The volume {path.name} cannot be read; see 'fedxai cohort check'.") from None


def size_of(path: Path) -> tuple[int, ...]:
    """An image's (columns, rows) or a volume's (X, Y, Z), without decoding its values.

    Raises:
        CohortError: the file is missing, damaged or cut short.
    """
    try:
        if not is_volume(path):
            with Image.open(path) as image:
                size = image.size
                image.verify()
            return size
        volume: Any = nib.load(path)
        header = volume.header
        wanted = int(volume.dataobj.offset) + int(np.prod(volume.shape)) * header.get_data_dtype().itemsize
        with path.open("rb") as opened:
            opened.seek(-4, os.SEEK_END)
            written = int.from_bytes(opened.read(4), "little")  # gzip's last word: the length it was made of
    except (*_DAMAGED, SyntaxError, UnidentifiedImageError) as error:
        raise CohortError(f"The file cannot be read ({type(error).__name__}).") from None
    if written != wanted % 2**32:
        raise CohortError("The file is cut short.")
    return volume.shape[:3]


def slice_for_people(
    voxels: NDArray[Any], affine: NDArray[np.float64], mask: NDArray[Any] | None
) -> tuple[NDArray[Any], NDArray[Any] | None, tuple[float, float]]:
    """Cut a volume in RAS+ as a radiologist looks at it: across its thickest axis, front or head up, right on the left.

    Args:
        voxels: (X, Y, Z[, C]).
        affine: (4, 4).
        mask: (X, Y, Z); where there is one, the slice is the one with most of it, else the middle one.

    Returns:
        The slice, (rows, columns[, C]), the mask's slice, and the mm of a row and of a column.
    """
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    axis = 2 - int(np.argmax(spacing[::-1]))
    others = tuple(other for other in range(3) if other != axis)
    areas = np.zeros(1) if mask is None else (mask != 0).sum(axis=others)
    place = int(np.argmax(areas)) if areas.any() else voxels.shape[axis] // 2
    column, row = others
    sides = (float(spacing[row]), float(spacing[column]))
    return _upright(voxels, place, axis), None if mask is None else _upright(mask, place, axis), sides


def _upright(voxels: NDArray[Any], place: int, axis: int) -> NDArray[Any]:
    return np.flip(np.take(voxels, place, axis=axis).swapaxes(0, 1), (0, 1))
