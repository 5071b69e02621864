# SPDX-License-Identifier: Apache-2.0
"""A projection, an ultrasound or a captured picture as it is displayed: 8 or 16 bits, gray or colour."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut

from fedxai.errors import CohortError
from fedxai.intake.dicom.burned_in import outside_blacked
from fedxai.intake.dicom.decoding import Stored, stored_frames
from fedxai.intake.pixels import Pixels

_DEEPEST = 16


def taken(dataset: Dataset, index: int) -> Pixels:
    """Return one frame as a cohort takes it: as a viewer shows it, less what lies beside an ultrasound.

    Raises:
        CohortError: it cannot be decoded or displayed, or a region of an ultrasound lies outside it.
    """
    return outside_blacked(picture_of(dataset, index), dataset)


def picture_of(dataset: Dataset, index: int) -> Pixels:
    """Return one frame as a viewer shows it.

    Gray: modality LUT or rescale, then VOI LUT or window (the first), then MONOCHROME1 turned round; 8 bits stored
    give 8 bits, more give 16, the displayed range filling them. Without VOI the range is that of the stored bits.
    Colour: RGB of 8 bits, palettes looked up.

    Returns:
        (rows, columns) or (rows, columns, 3), uint8 or uint16.

    Raises:
        CohortError: it cannot be decoded, or holds more than 16 bits.
    """
    stored = next(iter(stored_frames(dataset, [index])))
    if int(dataset.get("BitsStored") or 0) > _DEEPEST:
        raise CohortError("BitsStored is above 16, which no display shows; export the pictures with 16 bits at most.")
    try:
        return _colour(stored, dataset) if _coloured(dataset) else _gray(stored, dataset)
    except (AttributeError, IndexError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        raise CohortError(
            f"A look-up table or window of the picture is damaged ({type(error).__name__}); export the study again."
        ) from None


def _coloured(dataset: Dataset) -> bool:
    return int(dataset.get("SamplesPerPixel") or 1) > 1 or dataset.PhotometricInterpretation == "PALETTE COLOR"


def _colour(stored: Stored, dataset: Dataset) -> Pixels:
    colour = apply_color_lut(stored, dataset) if stored.ndim == 2 else stored
    bits = 8 * colour.dtype.itemsize if stored.ndim == 2 else int(dataset.BitsStored)
    eight = colour >> max(bits - 8, 0)
    return np.ascontiguousarray(eight.astype(np.uint8)[..., :3])


def _gray(stored: Stored, dataset: Dataset) -> Pixels:
    values = np.asarray(apply_modality_lut(stored, dataset))
    table = bool(dataset.get("VOILUTSequence"))
    window = not table and dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None
    if table or window:
        values = np.asarray(apply_voi_lut(values, dataset, 0))
    black, white = _table_range(dataset.VOILUTSequence[0]) if table else _stored_range(dataset)
    if not window:
        black, white = min(black, white), max(black, white)
    unit = np.clip((values.astype(np.float64) - black) / (white - black), 0, 1)
    unit = 1 - unit if dataset.get("PhotometricInterpretation") == "MONOCHROME1" else unit
    depth = np.uint8 if int(dataset.BitsStored) <= 8 else np.uint16
    return np.rint(unit * np.iinfo(depth).max).astype(depth)


def _table_range(table: Dataset) -> tuple[float, float]:
    return 0.0, float(2 ** int(table.LUTDescriptor[2]) - 1)


def _stored_range(dataset: Dataset) -> tuple[float, float]:
    """Return what the lowest and the highest value that can be stored become; a window goes from one to the other."""
    if dataset.get("ModalityLUTSequence"):
        return _table_range(dataset.ModalityLUTSequence[0])
    bits = int(dataset.BitsStored)
    low = -(2 ** (bits - 1)) if dataset.get("PixelRepresentation") == 1 else 0
    slope = float(dataset.get("RescaleSlope", 1) or 1)
    intercept = float(dataset.get("RescaleIntercept", 0) or 0)
    return low * slope + intercept, (low + 2**bits - 1) * slope + intercept
