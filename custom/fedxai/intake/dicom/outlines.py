# SPDX-License-Identifier: Apache-2.0
"""RTSTRUCT: closed contours in the patient become a mask on the slices that they were drawn on."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.path import Path as Outline
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from fedxai.errors import CohortError
from fedxai.intake.dicom.stacks import Stack

_OFF_SLICE = 0.25  # of the distance of slices
_POINT = 3


def structures(dataset: Dataset) -> dict[int, str]:
    """List the structures of an RTSTRUCT: number to name."""
    return {int(roi.ROINumber): str(roi.get("ROIName") or "") for roi in dataset.get("StructureSetROISequence") or []}


def drawn(dataset: Dataset, stack: Stack, numbers: Sequence[int]) -> NDArray[np.bool_]:
    """Fill the contours of some structures: a voxel belongs where its middle lies inside.

    Contours of one structure in one slice are combined by exclusive or, so that an inner one is a hole; structures
    are joined.

    Returns:
        (columns, rows, slices), the grid of the stack as it was acquired.

    Raises:
        CohortError: a contour is no closed planar one, or does not lie on a slice.
    """
    rows, columns = stack.frames[0].shape
    mask = np.zeros((columns, rows, len(stack.frames)), dtype=np.bool_)
    inverse = np.linalg.inv(stack.affine)
    for number in numbers:
        one: dict[int, NDArray[np.bool_]] = defaultdict(lambda: np.zeros((columns, rows), dtype=np.bool_))
        for points in _contours(dataset, number):
            places = points @ inverse[:3, :3].T + inverse[:3, 3]
            k = _slice(places[:, 2], len(stack.frames))
            one[k] ^= _filled(places[:, :2], (columns, rows))
        for k, filled in one.items():
            mask[..., k] |= filled
    return mask


def _contours(dataset: Dataset, number: int) -> Iterator[NDArray[np.float64]]:
    """Yield (points, 3) in LPS mm."""
    for roi in dataset.get("ROIContourSequence") or []:
        if int(roi.get("ReferencedROINumber") or 0) != number:
            continue
        for contour in roi.get("ContourSequence") or []:
            kind = str(contour.get("ContourGeometricType") or "")
            data = np.asarray([float(part) for part in contour.get("ContourData") or []], dtype=np.float64)
            if kind == "POINT":
                continue
            if not kind.startswith("CLOSED") or len(data) % 3 or len(data) < 3 * _POINT or not np.isfinite(data).all():
                raise CohortError("ContourData is no closed outline; draw the structure again, as closed contours.")
            yield data.reshape(-1, 3)


def _slice(depths: NDArray[np.float64], slices: int) -> int:
    k = int(np.rint(np.median(depths)))
    if np.abs(depths - k).max() > _OFF_SLICE or not 0 <= k < slices:
        raise CohortError("ContourData does not lie on the image's slices; it was drawn on another series.")
    return k


def _filled(outline: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Tell which pixels have their middle inside an outline given in pixels."""
    low = np.clip(np.floor(outline.min(axis=0)).astype(int), 0, shape)
    high = np.clip(np.ceil(outline.max(axis=0)).astype(int) + 1, 0, shape)
    filled = np.zeros(shape, dtype=np.bool_)
    if (high > low).all():
        grid = np.indices(tuple(high - low)).reshape(2, -1).T + low
        inside = Outline(np.vstack([outline, outline[:1]]), closed=True).contains_points(grid)
        filled[low[0] : high[0], low[1] : high[1]] = inside.reshape(high - low)
    return filled
