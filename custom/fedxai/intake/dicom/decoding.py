# SPDX-License-Identifier: Apache-2.0
"""Stored pixel values of a file, whatever it was compressed with."""

from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import iter_pixels

from fedxai.errors import CohortError
from fedxai.intake.dicom.reading import in_silence

Stored = NDArray[Any]


def stored_frames(dataset: Dataset, indices: Sequence[int]) -> Iterator[Stored]:
    """Yield stored values of frames, (rows, columns[, 3]), colour as RGB.

    pydicom clears the bits above BitsStored (old scanners put overlays, names among them, there) and keeps the sign.

    Raises:
        CohortError: there are no pixels, too few of them, or they cannot be decoded.
    """
    _check_bits(dataset)
    if "PixelData" not in dataset and "FloatPixelData" not in dataset:
        raise CohortError("PixelData is missing; export the study again, with its images.")
    shape = (int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0))
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


def _check_bits(dataset: Dataset) -> None:
    allocated, stored = int(dataset.get("BitsAllocated") or 0), int(dataset.get("BitsStored") or 0)
    if "FloatPixelData" in dataset:
        return
    if not 0 < stored <= allocated:
        raise CohortError("BitsStored is not between 1 and BitsAllocated; export the study again.")
    if int(dataset.get("HighBit") or 0) != stored - 1:
        raise CohortError("HighBit is not BitsStored - 1, as it must be; export the study again.")
