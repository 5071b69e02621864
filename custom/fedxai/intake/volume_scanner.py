# SPDX-License-Identifier: Apache-2.0
"""A virtual scanner for volumes: that of images in three axes, with an uneven field and slices of its own thickness."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fedxai.errors import SettingsError
from fedxai.intake.scanner import Scanner, site_scanners
from fedxai.intake.volume import Affine, Volume, Voxels

# From gentle to strong; a site gets one level of each, and sites of one study get different ones.
BIASES = (0.0, 0.35)
THICKNESSES = (1, 3)
_BRIGHT = 99.5  # percentile that counts as full intensity

Field = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class VolumeScanner:
    """How one site's volumes differ, with x = 0 at a volume's darkest voxel and 1 at its 99.5th percentile:

    ``y = slices(zoom(blur((x exp(bias d.r)) ** gamma))) + noise``

    r runs from -1 to 1 along each axis, d is a direction drawn for each case. ``plane`` holds gamma, blur (standard
    deviation in lengths of the finest voxel, the same in mm along every axis), noise and scale. ``slices`` joins so
    many neighbouring slices to their mean, along the axis whose voxels are longest (of equal ones the last).
    """

    plane: Scanner = field(default_factory=Scanner)
    bias: float = 0.0  # log of the field at the border against the middle
    thickness: int = 1  # slices that become one

    def __post_init__(self) -> None:
        if self.bias < 0 or self.thickness < 1:
            raise SettingsError(f"bias must be >= 0 and thickness >= 1, got {self.bias:g} and {self.thickness}.")

    def describe(self) -> str:
        """Return the parameters in words for a cohort's description."""
        plane = self.plane.describe().replace(" px", " voxels")
        return f"{plane}, bias {self.bias:.2f}, {self.thickness} slices in one"

    def image(self, volume: Volume, *, seed: int) -> Volume:
        """Picture a volume again, each channel for itself, in its own type; the seed draws direction and noise."""
        rng = np.random.default_rng(seed)
        uneven = np.exp(self.bias * _slope(volume.grid, rng))
        channels = volume.voxels[..., None] if volume.voxels.ndim == 3 else volume.voxels
        seen = [self._channel(channels[..., c], uneven, volume.spacing, rng) for c in range(channels.shape[-1])]
        voxels = seen[0] if volume.voxels.ndim == 3 else np.stack(seen, axis=-1)
        return Volume(voxels=voxels, affine=self._affine(volume))

    def mask(self, mask: Volume) -> Volume:
        """Move a region or a label map as the image is moved: each voxel takes the value with the largest share in it.

        No value vanishes: one that wins nowhere keeps the voxel in which it is largest.
        """
        best: Field = self._moved(np.zeros(mask.grid), mask.spacing)
        moved: Voxels = np.zeros(best.shape, dtype=mask.voxels.dtype)
        most: dict[int, int] = {}
        for value in np.unique(mask.voxels).tolist():
            share = self._moved((mask.voxels == value).astype(np.float64), mask.spacing)
            moved[share > best] = value
            best = np.maximum(best, share)
            most[value] = int(share.argmax())
        for value, place in most.items():
            if not (moved == value).any():
                moved.flat[place] = value
        return Volume(voxels=moved, affine=self._affine(mask))

    def _channel(self, voxels: Voxels, uneven: Field, spacing: Sequence[float], rng: np.random.Generator) -> Voxels:
        values = voxels.astype(np.float64)
        low, high = float(values.min()), float(np.percentile(values, _BRIGHT))
        reach = (high if high > low else float(values.max())) - low or 1.0
        seen = ((values - low) / reach * uneven) ** self.plane.gamma
        sigma = self.plane.blur * min(spacing) / np.array(spacing)
        seen = self._moved(ndimage.gaussian_filter(seen, sigma=sigma), spacing)
        seen = seen + rng.normal(0.0, self.plane.noise, seen.shape)
        taken = np.clip(seen, 0, None) * reach + low
        if voxels.dtype.kind == "f":
            return taken.astype(voxels.dtype)
        limits = np.iinfo(voxels.dtype)
        return np.rint(np.clip(taken, limits.min, limits.max)).astype(voxels.dtype)

    def _moved(self, values: Field, spacing: Sequence[float]) -> Field:
        """Shrink about the middle within the same frame, the rim repeating the border; then join slices."""
        if self.plane.scale != 1:
            middle, inverse = (np.array(values.shape) - 1) / 2, 1 / self.plane.scale
            offset: Any = middle - middle * inverse
            values = ndimage.affine_transform(values, np.full(3, inverse), offset=offset, order=1, mode="nearest")
        axis, count = _across(spacing), self.thickness
        missing = -values.shape[axis] % count
        padded = np.pad(values, [(0, missing if a == axis else 0) for a in range(3)], mode="edge")
        parts = np.moveaxis(padded, axis, -1)
        return np.moveaxis(parts.reshape(*parts.shape[:2], -1, count).mean(axis=-1), -1, axis)

    def _affine(self, volume: Volume) -> Affine:
        axis, affine = _across(volume.spacing), volume.affine.copy()
        affine[:3, 3] += affine[:3, axis] * (self.thickness - 1) / 2  # the middle of the first slices that are joined
        affine[:3, axis] *= self.thickness
        return affine


def site_volume_scanners(sites: int, *, seed: int) -> list[VolumeScanner]:
    """Give every site a scanner: those for images, with levels of bias and thickness dealt in a drawn order."""
    rng = np.random.default_rng([seed, 11])
    biases = np.linspace(*BIASES, sites)[rng.permutation(sites)]
    counts = np.rint(np.linspace(*THICKNESSES, sites)).astype(int)[rng.permutation(sites)]
    return [
        VolumeScanner(plane=plane, bias=float(bias), thickness=int(count))
        for plane, bias, count in zip(site_scanners(sites, seed=seed), biases, counts, strict=True)
    ]


def _slope(grid: Sequence[int], rng: np.random.Generator) -> Field:
    """``d.r`` for a direction d drawn from the sphere."""
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    x, y, z = (np.linspace(-1, 1, length) * part for length, part in zip(grid, direction, strict=True))
    return x[:, None, None] + y[:, None] + z


def _across(spacing: Sequence[float]) -> int:
    """The axis that slices are stacked along: that of the longest voxels, of equal ones the last."""
    return 2 - int(np.argmax(np.round(spacing, 3)[::-1]))
