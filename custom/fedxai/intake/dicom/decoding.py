# SPDX-License-Identifier: Apache-2.0
"""Stored pixel values of a file, whatever it was compressed with."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import iter_pixels
from pydicom.uid import RLELossless

from fedxai.errors import CohortError
from fedxai.intake.dicom.reading import in_silence

Stored = NDArray[Any]


def stored_frames(dataset: Dataset, indices: Sequence[int]) -> Iterator[Stored]:
    """Yield stored values of frames, (rows, columns[, 3]), colour as RGB.

    Bits above BitsStored are cleared (old scanners put overlays, names among them, there) and the sign is kept.

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
        yield _without_overlays(array, dataset)


def _check_bits(dataset: Dataset) -> None:
    allocated, stored = int(dataset.get("BitsAllocated") or 0), int(dataset.get("BitsStored") or 0)
    if "FloatPixelData" not in dataset and not 0 < stored <= allocated:
        raise CohortError("BitsStored is not between 1 and BitsAllocated; export the study again.")


def _without_overlays(array: Stored, dataset: Dataset) -> Stored:
    """Keep the bits that BitsStored and HighBit name; a codec has done so already."""
    syntax = dataset.file_meta.TransferSyntaxUID
    stored, allocated = int(dataset.get("BitsStored") or 0), int(dataset.get("BitsAllocated") or 0)
    coded = syntax.is_encapsulated and syntax != RLELossless
    if coded or array.dtype.kind not in "iu" or stored in (0, 1, allocated):
        return array
    lowest = int(dataset.get("HighBit") or stored - 1) + 1 - stored
    if lowest < 0 or lowest + stored > allocated:
        raise CohortError("HighBit does not fit BitsStored and BitsAllocated; export the study again.")
    wide = (array.astype(np.int64) >> lowest) & (2**stored - 1)
    if array.dtype.kind == "i":
        wide -= (wide >> (stored - 1)) << stored
    return wide.astype(array.dtype)
