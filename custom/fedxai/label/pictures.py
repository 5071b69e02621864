# SPDX-License-Identifier: Apache-2.0
"""What the reading page shows of a case: its slices as radiologists hang them, beside each the bands over it."""

import io

import numpy as np
from numpy.typing import NDArray

from fedxai.intake.evenly import evenly
from fedxai.intake.volume import Volume
from fedxai.label.bands import NAMES
from fedxai.report.overlay import enlarged, overlay, strip, windowed

MOST = 32  # slices of a case that a page brings


def pictures(image: Volume, banded: NDArray[np.uint8]) -> tuple[list[bytes], int]:
    """PNGs of slices, one grey window for all, and which of them holds most of the highest band.

    Slices run across the axis along which voxels are longest, of equal ones from head to foot: as they were taken.
    The patient's right is on the left, front or head is up. Of many slices some are chosen, evenly.

    Args:
        image: ``(X, Y, Z)``; of several channels the first is shown.
        banded: bands on its grid.
    """
    shown, bands = (_hung(Volume(voxels=voxels, affine=image.affine)) for voxels in (_first(image.voxels), banded))
    spacing = np.round(image.canonical().spacing, 3)
    axis = 2 - int(np.argmax(spacing[::-1]))
    grey = np.moveaxis(windowed(shown.astype(np.float32)), axis, 0)
    bands = np.moveaxis(bands, axis, 0)
    chosen = evenly(len(grey), MOST)
    strength = [int((bands[place] == len(NAMES)).sum()) for place in chosen]
    return [_beside(grey[place].T, bands[place].T) for place in chosen], int(np.argmax(strength))


def _first(voxels: NDArray) -> NDArray:
    return voxels if voxels.ndim == 3 else voxels[..., 0]


def _hung(volume: Volume) -> NDArray:
    """Axes from right to left, front to back, head to foot."""
    return volume.canonical().voxels[::-1, ::-1, ::-1]


def _beside(grey: NDArray, bands: NDArray) -> bytes:
    background = enlarged(np.repeat(grey[..., None], 3, axis=-1))
    picture = io.BytesIO()
    strip([background, overlay(background, bands.astype(np.float32), float(len(NAMES)))]).save(picture, format="PNG")
    return picture.getvalue()
