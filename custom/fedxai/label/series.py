# SPDX-License-Identifier: Apache-2.0
"""A series of an archive, brought here: slices that make one volume, or one picture; and what was drawn on it."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from fedxai.errors import CohortError
from fedxai.intake.dicom.display import taken
from fedxai.intake.dicom.instance import PICTURED, SLICED, Instance, read_instance
from fedxai.intake.dicom.numbers import same_pixels, volume_of
from fedxai.intake.dicom.reading import in_silence, read_header, read_image
from fedxai.intake.dicom.regions import region_of, region_on_picture
from fedxai.intake.dicom.stacks import Stack, stacks_of
from fedxai.intake.pixels import Pixels, encode_png
from fedxai.intake.resample import onto_grid
from fedxai.intake.volume import SUFFIX, Volume
from fedxai.label.grids import picture_volume
from fedxai.report.dicom_region import Drawing

MODALITIES = {2: PICTURED, 3: SLICED}  # of what is served, by the dimension of the model's images
_LONGEST_NAME = 64
_MAY_BE_EMPTY = (  # type 2 in modules Patient and General Study, which whatever is written back repeats
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_PLACING = ("ImagePositionPatient", "ImageOrientationPatient", "PerFrameFunctionalGroupsSequence")


class Series(ABC):
    """One image of the archive, brought here."""

    @abstractmethod
    def volume(self) -> Volume:
        """Its numbers as :func:`fedxai.label.grids.read_image` gives them of its file."""

    @abstractmethod
    def write(self, folder: Path) -> Path:
        """Its file as the intake writes it, NIfTI or PNG, in a folder."""

    @abstractmethod
    def headers(self) -> list[Dataset]:
        """Header of every file, whole: what is written back takes over patient and study."""

    @abstractmethod
    def marked(self, seg: Path, name: str, image: Volume) -> NDArray[np.bool_] | None:
        """Where a segment of a SEG lies on the image, (X, Y, Z); None where it marks nothing.

        Raises:
            CohortError: the SEG is damaged or does not fit the image.
        """


@dataclass(frozen=True, kw_only=True)
class SlicedSeries(Series):
    """A volume of slices, axes as in the files.

    Attributes:
        stack: its slices, files among them.
    """

    stack: Stack

    def volume(self) -> Volume:
        """Real values, axes as in the files."""
        with in_silence():
            return volume_of(self.stack)

    def write(self, folder: Path) -> Path:
        """See the base."""
        file = folder / f"image{SUFFIX}"
        self.volume().write(file)
        return file

    def headers(self) -> list[Dataset]:
        """See the base."""
        return _headers(frame.path for frame in self.stack.frames)

    def marked(self, seg: Path, name: str, image: Volume) -> NDArray[np.bool_] | None:
        """See the base."""
        mask = region_of([seg], self.stack, [name])
        return None if mask is None else onto_grid(mask, image).voxels > 0


@dataclass(frozen=True, kw_only=True)
class PictureSeries(Series):
    """A radiograph or another picture, with the pixels that the intake takes into a cohort.

    Attributes:
        path: its file.
    """

    path: Path

    def volume(self) -> Volume:
        """See the base."""
        return picture_volume(self._pixels())

    def write(self, folder: Path) -> Path:
        """See the base."""
        file = folder / "image.png"
        file.write_bytes(encode_png(self._pixels()))
        return file

    def headers(self) -> list[Dataset]:
        """See the base; less what places a few pictures in the patient, for only their pixels are served."""
        (header,) = _headers([self.path])
        for name in _PLACING:
            header.pop(name, None)
        return [header]

    def marked(self, seg: Path, name: str, image: Volume) -> NDArray[np.bool_] | None:
        """See the base."""
        mask = region_on_picture([seg], read_header(self.path), 0, [name])
        return None if mask is None else mask.T[:, :, None] > 0

    def _pixels(self) -> Pixels:
        with in_silence():
            return taken(read_image(self.path), 0)


def read_series(folder: Path, *, allow_burned_in: bool = False) -> Series:
    """Read the files of one series in a folder.

    Args:
        folder: where they lie.
        allow_burned_in: take pictures that may have text burnt in.

    Raises:
        CohortError: they are not one volume or one picture, or names may be burnt into the pictures.
    """
    instances = [read_instance(path, allow_burned_in=allow_burned_in) for path in sorted(folder.glob("*.dcm"))]
    if reasons := [instance.reason for instance in instances if instance.reason]:
        raise CohortError(reasons[0])
    pictured = any(instance.modality in PICTURED for instance in instances)
    return _picture(instances) if pictured else _volume(instances)


def _picture(instances: Sequence[Instance]) -> PictureSeries:
    count = sum(instance.pictures for instance in instances)
    if count != 1:
        raise CohortError(f"The series holds {count} pictures; split it, or label one that holds one.")
    return PictureSeries(path=next(instance.path for instance in instances if instance.pictures))


def _volume(instances: Sequence[Instance]) -> SlicedSeries:
    frames = [frame for instance in instances for frame in instance.frames]
    if not frames:
        raise CohortError("The series holds no slices of a volume.")
    with in_silence():
        found = list(stacks_of(frames, same_pixels))
    for stack in found:
        if isinstance(stack, CohortError):
            raise stack
    if len(found) != 1:
        raise CohortError(f"The series holds {len(found)} volumes; split it, or label one that holds one.")
    (stack,) = found
    assert isinstance(stack, Stack)
    return SlicedSeries(stack=stack)


def drawing_of(seg: Dataset, series: Series, image: Volume, *, segments: Collection[int] | None = None) -> Drawing:
    """A DICOM SEG as a label map on the image's grid, its names and its reader with it.

    Of a fractional SEG, what is at least one half belongs to a segment. Where two segments overlap, the later wins.

    Args:
        seg: the SEG.
        series: what it was drawn on.
        image: the series as a volume.
        segments: numbers of those to take; None: all.

    Raises:
        CohortError: the SEG is damaged, empty, lies on no regular grid, or does not fit the image.
    """
    names = {
        int(item.SegmentNumber): str(item.get("SegmentLabel") or "")
        for item in seg.get("SegmentSequence") or []
        if segments is None or int(item.SegmentNumber) in segments
    }
    if max(names, default=0) > np.iinfo(np.uint8).max:
        raise CohortError("The segmentation has more than 255 segments; label maps have at most that many values.")
    labels = np.zeros(image.grid, dtype=np.uint8)
    with TemporaryDirectory(prefix="fedxai-") as private:
        path = Path(private) / "object.dcm"
        seg.save_as(path, enforce_file_format=True)
        for number, name in names.items():
            inside = series.marked(path, name, image)
            if inside is not None:
                labels[inside] = number
    creator = seg.get("ContentCreatorName")
    shown = {number: _shown(name) for number, name in names.items()}
    return Drawing(
        labels=labels, affine=image.affine, names=shown, reader=_shown(creator.family_name if creator else "")
    )


def _headers(paths: Iterable[Path]) -> list[Dataset]:
    """Of whole headers, what must be there and may be empty is there, empty where a file lacks it."""
    with in_silence():
        headers: list[Dataset] = [pydicom.dcmread(path, stop_before_pixels=True) for path in dict.fromkeys(paths)]
    for header in headers:
        for name in _MAY_BE_EMPTY:
            header.setdefault(name, None)
    return headers


def _shown(text: object) -> str:
    """A name that somebody else wrote, as far as it can be shown."""
    return "".join(letter for letter in str(text or "") if letter.isprintable()).strip()[:_LONGEST_NAME] or "unknown"
