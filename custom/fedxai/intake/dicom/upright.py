# SPDX-License-Identifier: Apache-2.0
"""Set a volume upright that a tilted gantry sheared, each slice moved within its own plane."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fedxai.intake.volume import Volume


def upright(sheared: Volume, sideways: NDArray[np.float64], *, order: int) -> Volume:
    """Move slice k by ``k * sideways`` within its plane, on a canvas grown so that nothing is cut off.

    Args:
        sheared: (columns, rows, slices); its affine has the slanted step from slice to slice.
        sideways: (2,), columns and rows that each slice begins further on than the one before.
        order: 1 interpolates linearly (images), 0 takes the nearest (masks).

    Returns:
        The volume with slices above each other; where nothing was measured, the lowest value of all.
    """
    if not sideways.any():
        return sheared
    slices = sheared.grid[2]
    shifts = np.arange(slices)[:, None] * sideways
    low = np.floor(shifts.min(axis=0)).astype(int)
    grown = np.ceil(shifts.max(axis=0)).astype(int) - low
    canvas = (sheared.grid[0] + int(grown[0]), sheared.grid[1] + int(grown[1]), slices)
    empty = sheared.voxels.min()
    voxels = np.full(canvas, empty, dtype=sheared.voxels.dtype)
    for k, shift in enumerate(shifts - low):
        padded = np.full(canvas[:2], empty, dtype=np.float64)
        padded[: sheared.grid[0], : sheared.grid[1]] = sheared.voxels[..., k]
        moved = ndimage.shift(padded, shift, order=order, mode="constant", cval=float(empty))
        voxels[..., k] = np.rint(moved) if voxels.dtype.kind in "iu" else moved
    affine = sheared.affine.copy()
    affine[:3, 2] -= affine[:3, :2] @ sideways
    affine[:3, 3] += affine[:3, :2] @ low
    return Volume(voxels=voxels, affine=affine)
