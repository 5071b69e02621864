# SPDX-License-Identifier: Apache-2.0
"""What an export offers to a cohort, a case at a time: a stack of slices, a picture, or the reason why not."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from fedxai.errors import CohortError
from fedxai.intake.dicom.display import taken
from fedxai.intake.dicom.numbers import volume_of
from fedxai.intake.dicom.pixel_spacing import spacing_of
from fedxai.intake.dicom.reading import in_silence, read_image
from fedxai.intake.dicom.regions import is_segmentation, region_of, region_on_picture
from fedxai.intake.dicom.stacks import Stack
from fedxai.intake.digest import digest_of
from fedxai.intake.picture_case import Picture, PictureCase
from fedxai.intake.pixels import Pixels, read_region
from fedxai.intake.resample import onto_grid
from fedxai.intake.volume import Volume
from fedxai.intake.volume_case import VolumeCase
from fedxai.intake.volume_file import read_volume
from fedxai.records import Split

_NO_PLACE = "contours of an RTSTRUCT lie in the patient, where a single picture has no place, and were left out."


@dataclass(frozen=True, kw_only=True)
class Said:
    """What the table says of a case.

    Attributes:
        label: its class; "" where its label map is drawn.
        mask: file of a mask, where the table names one.
        structures: names of SEG or RTSTRUCT structures: those that make the region (all if empty), or, where the
            label map is drawn, those that become its values 1, 2, ...
    """

    label: str = ""
    mask: Path | None = None
    split: Split | None = None
    tabular: tuple[tuple[str, float], ...] = ()
    structures: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StackSource:
    """A volume of slices with what was drawn on it."""

    place: str
    patient: str
    stack: Stack
    drawn: tuple[Path, ...] = ()
    said: Said = field(default_factory=Said)

    def fingerprint(self) -> bytes:
        """Digest every file that would be read, which frames of it, and what the table says."""
        paths = [*dict.fromkeys(frame.path for frame in self.stack.frames), *self.drawn]
        frames = [frame.index for frame in self.stack.frames]
        return digest_of([*paths, self.said.mask], [self.patient, frames, replace(self.said, mask=None)])

    def read(self) -> VolumeCase:
        """Read the volume and what was drawn.

        Raises:
            CohortError: a file is damaged, or what was drawn has no place on the volume.
        """
        with in_silence():
            return self._read()

    def _read(self) -> VolumeCase:
        image = volume_of(self.stack)
        return VolumeCase(
            image=image,
            label=self.said.label or self._label_map(image),
            region=self._region() if self.said.label else None,
            split=self.said.split,
            tabular=dict(self.said.tabular),
            notes=self._notes(),
        )

    def _region(self) -> Volume | None:
        if self.said.mask is not None:
            return read_volume(self.said.mask, what="mask")
        return region_of(self.drawn, self.stack, self.said.structures)

    def _label_map(self, image: Volume) -> Volume:
        """Give each structure its value; where two overlap, the later one wins."""
        if self.said.mask is not None:
            return read_volume(self.said.mask, what="mask")
        values = np.zeros(image.grid, dtype=np.uint8)
        for value, name in enumerate(self.said.structures, start=1):
            mask = region_of(self.drawn, self.stack, [name])
            if mask is not None:
                values[onto_grid(mask, image).voxels > 0] = value
        if not values.any():
            raise CohortError("Nothing that --class-name names was drawn on it; leave it out, or name its structures.")
        return Volume(voxels=values, affine=image.affine)

    def _notes(self) -> list[str]:
        notes = ["slices that were there twice were left out."] if self.stack.dropped else []
        return [*notes, *(["a tilted gantry's shear was undone by interpolation."] if self.stack.tilted else [])]


@dataclass(frozen=True, kw_only=True)
class PictureSource:
    """One frame of a projection, an ultrasound or a captured picture."""

    place: str
    patient: str
    path: Path
    index: int = 0
    drawn: tuple[Path, ...] = ()
    said: Said = field(default_factory=Said)

    def fingerprint(self) -> bytes:
        """Digest the file and what was drawn on it, the frame, and what the table says."""
        said = [self.patient, self.index, replace(self.said, mask=None)]
        return digest_of([self.path, self.said.mask, *self.drawn], said)

    def read(self) -> PictureCase:
        """Read the picture as it is displayed, less what lies beside an ultrasound.

        Raises:
            CohortError: the file is damaged, what was drawn does not fit, or it has no class.
        """
        if not self.said.label:
            raise CohortError("A picture has a class, no label map; give it in --table, without --segmentation.")
        with in_silence():
            dataset = read_image(self.path)
            pixels = taken(dataset, self.index)
            segs = [path for path in self.drawn if is_segmentation(path)]
            region = self._region(segs, dataset, pixels)
        return PictureCase(
            image=Picture(pixels=pixels),
            label=self.said.label,
            region=None if region is None else Picture(pixels=region),
            split=self.said.split,
            tabular=dict(self.said.tabular),
            spacing=spacing_of(dataset),
            notes=[_NO_PLACE] if len(segs) < len(self.drawn) else [],
        )

    def _region(self, segs: Sequence[Path], dataset: Dataset, pixels: Pixels) -> NDArray[np.uint8] | None:
        if self.said.mask is not None:
            return read_region(self.said.mask, what="mask", size=pixels.shape)
        return region_on_picture(segs, dataset, self.index, self.said.structures)


@dataclass(frozen=True, kw_only=True)
class RefusedSource:
    """What was found and cannot be taken."""

    place: str
    patient: str
    reason: str

    def fingerprint(self) -> bytes:
        """Digest what would be said."""
        return digest_of([], [self.place, self.reason])

    def read(self) -> VolumeCase:
        """Say why not.

        Raises:
            CohortError: always.
        """
        raise CohortError(self.reason)
