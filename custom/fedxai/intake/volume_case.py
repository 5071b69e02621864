# SPDX-License-Identifier: Apache-2.0
"""A volume on its way into a cohort: turned to RAS+, with its masks on its grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fedxai.errors import CohortError
from fedxai.intake.resample import check_mask, onto_grid
from fedxai.intake.volume import Volume
from fedxai.records import Split


@dataclass(frozen=True, kw_only=True)
class VolumeCase:
    """One case as a reader hands it over, on whatever grids its files had."""

    image: Volume
    label: Volume | str  # a label map, or the name of a class
    region: Volume | None = None
    split: Split | None = None  # where the hospital's table says so
    tabular: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()  # what the person should know, the same words for the same thing

    def prepared(self) -> "VolumeCase":
        """The case as it is stored: turned to RAS+, masks on the image's grid, regions 0 or 1.

        Raises:
            CohortError: the image is constant, a mask does not fit it, a region is empty, or a label map has values
                other than 0 to 255.
        """
        image = self.image.canonical()
        if image.voxels.min() == image.voxels.max():
            raise CohortError("The image has one value everywhere; export it again.")
        return replace(
            self,
            image=image,
            label=_label_map(self.label, image) if isinstance(self.label, Volume) else self.label,
            region=None if self.region is None else _region(self.region, image),
        )


def _label_map(label: Volume, image: Volume) -> Volume:
    moved = _placed(label, image, "label map")
    low, high = float(moved.voxels.min()), float(moved.voxels.max())
    if low < 0 or high > 255:
        raise CohortError(f"The values of a label map must be 0 to 255, got {low:g} to {high:g}.")
    return replace(moved, voxels=moved.voxels.astype(np.uint8))


def _region(region: Volume, image: Volume) -> Volume:
    layers = region.voxels if region.voxels.ndim == 4 else region.voxels[..., None]  # 3D Slicer's overlapping segments
    check_mask(replace(region, voxels=layers.reshape(*region.grid[:2], -1)))
    moved = _placed(replace(region, voxels=(layers != 0).any(axis=-1)), image, "region")
    if not moved.voxels.any():
        raise CohortError("The region is empty; draw it, or give the case none.")
    return moved


def _placed(mask: Volume, image: Volume, what: str) -> Volume:
    try:
        return onto_grid(mask.canonical(), image)
    except CohortError as error:
        raise CohortError(f"The {what} does not fit its image: {error}") from None
