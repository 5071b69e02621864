# SPDX-License-Identifier: Apache-2.0
"""Clinically relevant regions on their grid, and what scores ask of them: a margin, the middle of the image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from fedxai.errors import ExplanationError

MARGIN = 5.0  # mm around a region that count as near it
GAUSSIAN_WIDTH = 0.25  # standard deviation of the centred Gaussian, in lengths of each axis


@dataclass(frozen=True, kw_only=True)
class Regions:
    """The regions of a batch, voxels in one row a case; ``spacing`` is 1 mm where it is not known."""

    inside: Tensor  # (B, voxels), bool
    grid: tuple[int, ...]
    spacing: Tensor  # (B, axes), mm from voxel to voxel
    _grown: dict[float, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, region: Tensor, spacing: Tensor | Sequence[float] | None = None) -> "Regions":
        """Regions ``(B, 1, *spatial)``, boolean or 0 and not 0, with voxel spacings ``(B, axes)`` or ``(axes,)`` in mm.

        Raises:
            ExplanationError: when a shape does not fit, or a spacing is not positive.
        """
        if region.ndim not in (4, 5) or region.shape[1] != 1:
            raise ExplanationError(f"region must be (B, 1, *spatial), got {tuple(region.shape)}")
        cases, _, *grid = region.shape
        known = torch.ones(cases, len(grid)) if spacing is None else torch.as_tensor(spacing).detach().cpu()
        known = (known.expand(cases, -1) if known.ndim == 1 else known).double()
        if known.shape != (cases, len(grid)) or not bool(((known > 0) & known.isfinite()).all()):
            raise ExplanationError(
                f"spacing must give {len(grid)} lengths above 0 mm for each of {cases} cases, got {tuple(known.shape)}"
            )
        flat = region.detach().as_subclass(Tensor).bool().flatten(1)
        return cls(inside=flat, grid=tuple(grid), spacing=known)

    def to(self, device: torch.device) -> "Regions":
        """The same regions on another device; itself where they lie there already."""
        if self.inside.device == device:
            return self
        return Regions(inside=self.inside.to(device), grid=self.grid, spacing=self.spacing)

    def grown(self, margin: float) -> Tensor:
        """The voxels in a region or at most ``margin`` mm from it, ``(B, voxels)``; empty where a region is empty."""
        if margin not in self._grown:
            self._grown[margin] = torch.stack([self._grown_case(case, margin) for case in range(len(self.inside))]).to(
                self.inside.device
            )
        return self._grown[margin]

    @property
    def gaussian(self) -> Tensor:
        """A Gaussian at the middle of the grid, ``(1, voxels)`` in float64: a quarter of each axis wide."""
        whole = torch.ones((), dtype=torch.float64)
        for length in self.grid:
            place = (torch.arange(length, dtype=torch.float64) - (length - 1) / 2) / length
            whole = whole[..., None] * torch.exp(-0.5 * (place / GAUSSIAN_WIDTH) ** 2)
        return whole.flatten()[None].to(self.inside.device)

    def _grown_case(self, case: int, margin: float) -> Tensor:
        inside = self.inside[case].reshape(self.grid).cpu().numpy()
        if not inside.any():
            return torch.zeros(inside.size, dtype=torch.bool)
        distance = distance_transform_edt(~inside, sampling=self.spacing[case].tolist())
        return torch.from_numpy(np.asarray(distance) <= margin).flatten()


def spacing_of(batch: Mapping[str, Any], place: int) -> Tensor | None:
    """Mm from voxel to voxel along each axis ``(axes,)`` of one image of a batch, on the CPU; None where unknown."""
    known = batch.get("spacing")
    if known is None:
        return None
    lengths = torch.as_tensor(known).detach().cpu()
    return lengths if lengths.ndim == 1 else lengths[place]
