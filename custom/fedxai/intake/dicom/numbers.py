# SPDX-License-Identifier: Apache-2.0
"""A stack of frames becomes a volume of real values: HU, activity, whatever RescaleSlope and RescaleIntercept give."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut

from fedxai.errors import CohortError
from fedxai.intake.dicom.decoding import Stored, check_size, stored_frames
from fedxai.intake.dicom.frames import Frame
from fedxai.intake.dicom.reading import read_image
from fedxai.intake.dicom.stacks import Stack
from fedxai.intake.dicom.upright import upright
from fedxai.intake.volume import Volume

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NOT_NUMBERS = ("PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422")


def volume_of(stack: Stack) -> Volume:
    """Read a stack: ``value = RescaleSlope * stored + RescaleIntercept``, by the slice's own scale.

    MONOCHROME1 is how a viewer shows numbers, not what they are, and is not applied. Whole numbers stay whole. What
    a tilted gantry sheared is set upright, as :func:`upright` says.

    Returns:
        (columns, rows, slices) in RAS mm, axes in the order and direction of the file.

    Raises:
        CohortError: the stack is too large, a frame cannot be decoded, or its values are not measured numbers.
    """
    check_size(stack.frames[0].shape, frames=len(stack.frames))
    slices: dict[int, Stored] = {}
    for place, values in _values(stack.frames):
        slices[place] = _narrow(values)
    voxels = np.stack([slices[place] for place in range(len(slices))]).transpose(2, 1, 0)
    return upright(Volume(voxels=voxels, affine=TO_RAS @ stack.affine), stack.sideways, order=1)


def same_pixels(one: Frame, other: Frame) -> bool:
    """Whether two frames hold the same real values."""
    values = dict(_values([one, other]))
    return bool(np.array_equal(values[0], values[1]))


def _values(frames: Sequence[Frame]) -> Iterator[tuple[int, Stored]]:
    """Yield (place in the list, real values), reading every file once."""
    places: dict[object, list[int]] = defaultdict(list)
    for place, frame in enumerate(frames):
        places[frame.path].append(place)
    for members in places.values():
        members.sort(key=lambda place: frames[place].index)
        dataset = read_image(frames[members[0]].path)
        _check_numbers(dataset)
        indices = [frames[place].index for place in members]
        for place, stored in zip(members, stored_frames(dataset, indices), strict=True):
            yield place, _scaled(stored, dataset, frames[place])


def _scaled(stored: Stored, dataset: Dataset, frame: Frame) -> Stored:
    if "ModalityLUTSequence" in dataset:
        return np.asarray(apply_modality_lut(stored, dataset)).astype(np.int64)
    if stored.dtype.kind == "f" or not (float(frame.slope).is_integer() and float(frame.intercept).is_integer()):
        return stored.astype(np.float64) * frame.slope + frame.intercept
    return stored.astype(np.int64) * int(frame.slope) + int(frame.intercept)


def _check_numbers(dataset: Dataset) -> None:
    if str(dataset.get("PhotometricInterpretation")) in _NOT_NUMBERS:
        raise CohortError("PhotometricInterpretation says that slices hold colours, not numbers; leave the series out.")


def _narrow(values: Stored) -> Stored:
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    low, high = int(values.min()), int(values.max())
    return values.astype(np.int16) if low >= -32768 and high <= 32767 else values
