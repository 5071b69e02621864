# SPDX-License-Identifier: Apache-2.0
"""Stored pixel values of a file, whatever it was compressed with."""

from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import iter_pixels

from fedxai.errors import CohortError
from fedxai.intake.dicom.reading import in_silence
from fedxai.intake.volume import MAX_VOXELS

Stored = NDArray[Any]
MOST_PIXELS = 2**25  # of a frame; the largest mammography has 28 million


def stored_frames(dataset: Dataset, indices: Sequence[int]) -> Iterator[Stored]:
    """Yield stored values of frames, (rows, columns[, 3]), colour as RGB.

    pydicom clears the bits above BitsStored (old scanners put overlays, names among them, there) and keeps the sign.

    Raises:
        CohortError: there are no pixels, too few or too many of them, or they cannot be decoded.
    """
    _check_bits(dataset)
    if "PixelData" not in dataset and "FloatPixelData" not in dataset:
        raise CohortError("PixelData is missing; export the study again, with its images.")
    shape = (int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0))
    check_size(shape, frames=len(indices) * int(dataset.get("SamplesPerPixel") or 1))
    try:
        with in_silence():
            decoded = list(iter_pixels(dataset, indices=list(indices)))
    except Exception as error:  # each codec raises errors of its own
        raise CohortError(
            f"PixelData cannot be decoded ({type(error).__name__}); export the study again, uncompressed."
        ) from None
    for array in decoded:
        if array.shape[:2] != shape:
            raise CohortError("PixelData is not of the size that Rows and Columns say; export the study again.")
        yield array


def check_size(shape: tuple[int, int], *, frames: int) -> None:
    """Refuse what a header says is too large, before anything is decoded: a few bytes may stand for gigabytes.

    Raises:
        CohortError: a frame has more than :data:`MOST_PIXELS`, or all have more than a volume may have.
    """
    pixels = shape[0] * shape[1]
    if pixels > MOST_PIXELS:
        raise CohortError(f"Rows x Columns must be at most {MOST_PIXELS} pixels, got {pixels}; leave the image out.")
    if pixels * frames > MAX_VOXELS:
        raise CohortError(
            f"Rows x Columns x frames must be at most {MAX_VOXELS} values, got {pixels * frames}; leave the series out."
        )


def _check_bits(dataset: Dataset) -> None:
    allocated, stored = int(dataset.get("BitsAllocated") or 0), int(dataset.get("BitsStored") or 0)
    if "FloatPixelData" in dataset:
        return
    if not 0 < stored <= allocated:
        raise CohortError("BitsStored is not between 1 and BitsAllocated; export the study again.")
    if int(dataset.get("HighBit") or 0) != stored - 1:
        raise CohortError("HighBit is not BitsStored - 1, as it must be; export the study again.")
