# SPDX-License-Identifier: Apache-2.0
"""MONAI Label's datastore on DICOM series: images by series, regions as DICOM SEG with names and reader."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, Literal

import numpy as np
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.exception import ImageNotFoundException
from numpy.typing import NDArray

from fedxai.errors import CohortError
from fedxai.intake.volume import SUFFIX, Volume
from fedxai.label.archive import Archive
from fedxai.label.bands import is_band
from fedxai.label.elsewhere import drawn_elsewhere
from fedxai.label.feedback import Drawn
from fedxai.label.grids import read_drawing, read_image
from fedxai.label.series import MODALITIES, Series, drawing_of
from fedxai.report.dicom_capture import saliency_as_captures
from fedxai.report.dicom_region import Drawing, region_as_seg
from fedxai.report.dicom_saliency import SaliencyMap, saliency_as_map

_log = logging.getLogger(__name__)
UNKNOWN_READER = "unknown"


class ArchiveDatastore(LocalDatastore):
    """Studies of an archive; ids are SeriesInstanceUIDs, and only those that the archive lists are known.

    A series is brought here when it is first asked for. Slices are kept as NIfTI on the grid and with the axes of their
    files, for OHIF lays an answer's bytes over its slices without reading the geometry; a picture as the PNG that the
    intake makes of it. What a reader saves as ``final`` goes to the archive as DICOM SEG and stays here as a copy;
    other tags stay here.

    Args:
        archive: where the studies are.
        cache: folder for what was brought here.
        dimension: axes of the model's images: 2, and pictures are served, or 3, and volumes are.
    """

    def __init__(self, archive: Archive, cache: Path, *, dimension: int = 3) -> None:
        self._archive, self._modalities = archive, MODALITIES[dimension]
        self._bringing = Lock()
        self._read: set[str] = set()
        self._files = cache / "series"
        super().__init__(str(cache / "volumes"), extensions=[f"*{SUFFIX}", "*.png"], auto_reload=False)

    def name(self) -> str:
        """What viewers show as the datastore's name; not the archive's address."""
        return "DICOM archive"

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Studies come from the archive alone.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("An archive takes no new images through this server.")

    def list_images(self) -> list[str]:
        """SeriesInstanceUIDs of the archive's slices (CT, MR, PET) or pictures (radiographs and others)."""
        return sorted(self._archive.images(self._modalities))

    def has(self, image_id: str) -> bool:
        """Whether :meth:`list_images` has it: one question to the archive, where a list takes one for each modality."""
        return self._archive.has(image_id, self._modalities)

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Series that a DICOM SEG in the archive was drawn on, whoever stored it."""
        drawn = self._archive.drawn()
        return [series for series in self.list_images() if series in drawn]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Series that nobody has drawn on."""
        drawn = self._archive.drawn()
        return [series for series in self.list_images() if series not in drawn]

    def get_image_uri(self, image_id: str) -> str:
        """Path of the series as NIfTI or PNG, brought here where it is not yet.

        Raises:
            ImageNotFoundException: the archive has no such series of images.
            CohortError: the series is not one volume or picture.
        """
        if not self.has(image_id):
            raise ImageNotFoundException("The archive has no such series of images.")
        with self._bringing:
            if image_id not in self._datastore.objects or not (self._files / image_id).is_dir():
                self._bring(image_id)
            elif image_id not in self._read:  # by an earlier server, whose rules may have let more in
                self._archive.read(self._files / image_id)
            self._read.add(image_id)
        return super().get_image_uri(image_id)

    def _bring(self, image_id: str) -> None:
        """Read a series whole before any of it is kept."""
        self._files.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self._files, prefix=".part-") as private:
            folder = Path(private) / "files"
            file = self._archive.fetch(image_id, folder).write(Path(private))
            home = self._files / image_id
            shutil.rmtree(home, ignore_errors=True)
            folder.rename(home)
            super().add_image(image_id, str(file), {})

    def series(self, image_id: str) -> Series:
        """The DICOM series of an image, brought here where it is not yet.

        Raises:
            ImageNotFoundException: the archive has no such series of images.
        """
        self.get_image_uri(image_id)
        return self._archive.read(self._files / image_id)

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Keep a label map here, and as DICOM SEG in the archive where it is a reader's final word.

        Args:
            image_id: its series.
            label_filename: see :func:`fedxai.label.grids.read_drawing`.
            label_tag: ``final`` goes to the archive.
            label_info: ``label_info`` lists the segments as viewers do (``name``, ``idx``), ``user`` is the reader.

        Raises:
            CohortError: nothing was drawn but saliency bands, a value has no name, or the map does not fit the image.
            RunError: the archive refuses it.
        """
        image = read_image(Path(self.get_image_uri(image_id)))
        labels = Volume(voxels=read_drawing(Path(label_filename), image), affine=image.affine)
        info = dict(label_info or {})
        with TemporaryDirectory(prefix="fedxai-") as private:
            if label_tag == DefaultLabelTag.FINAL:
                info["SeriesInstanceUID"] = self._to_archive(image_id, labels, info)
            file = Path(private) / f"label{SUFFIX}"
            labels.write(file)
            return super().save_label(image_id, str(file), label_tag, info)

    def _to_archive(self, image_id: str, labels: Volume, info: Mapping[str, Any]) -> str:
        drawn, names = drawn_by_hand(labels.voxels, names_of(info.get("label_info") or []))
        drawing = Drawing(
            labels=drawn,
            affine=labels.affine,
            names=names,
            reader=str(info.get("user") or info.get("annotator") or UNKNOWN_READER),  # user: by token, not by claim
        )
        return self._archive.store(region_as_seg(drawing, self.series(image_id).headers()))

    def drawings(self, image_id: str) -> list[Drawing]:
        """What readers drew on a series, oldest first, each with its names and reader: two readers are two drawings.

        Raises:
            ImageNotFoundException: the archive has no such series of images.
            CohortError: a SEG in the archive is damaged or does not fit the image.
        """
        image = read_image(Path(self.get_image_uri(image_id)))
        series = self.series(image_id)
        found = (drawing_of(seg, series, image) for seg in self._archive.segmentations(image_id))
        kept = ((drawing, *drawn_by_hand(drawing.labels, drawing.names)) for drawing in found)
        return [replace(drawing, labels=labels, names=names) for drawing, labels, names in kept if labels.any()]

    def segs(self) -> dict[str, frozenset[str]]:
        """By series that somebody has drawn on, its SEGs; see :meth:`fedxai.label.archive.Archive.segs`."""
        return self._archive.segs()

    def drawn_elsewhere(self, image_id: str, class_names: Sequence[str]) -> dict[str, Drawn]:
        """What other workstations drew on a series, by reader; see :func:`fedxai.label.elsewhere.drawn_elsewhere`."""
        return drawn_elsewhere(self._archive, image_id, class_names, bring=lambda: self.series(image_id))

    def store_saliency(self, image_id: str, saliency: SaliencyMap, *, form: Literal["map", "capture"] = "map") -> str:
        """Put a map of a series, on its grid, into the archive as a new series of its study; its SeriesInstanceUID.

        Args:
            image_id: its series.
            saliency: the map.
            form: ``map``, a DICOM parametric map that keeps the numbers, or ``capture``, colour over the image as
                secondary captures that viewers without parametric maps show.

        Raises:
            ImageNotFoundException: the archive has no such series of images.
            CohortError: the map lies on another grid.
            RunError: the archive refuses it.
        """
        series = self.series(image_id)
        if form == "map":
            return self._archive.store(saliency_as_map(saliency, series.headers()))
        image = series.volume()
        return self._archive.store(*saliency_as_captures(saliency, image.voxels, image.affine, series.headers()))

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Pairs of image and newest final label map, what was drawn elsewhere (OHIF, a workstation) included."""
        for image_id in self.get_labeled_images():
            try:
                drawings = self.drawings(image_id)
            except CohortError as error:  # one SEG of a stranger must not keep back all others
                _log.warning("A segmentation of the archive was left out: %s", error)
                continue
            if drawings:
                self._keep(image_id, drawings[-1])
        return super().datalist(full_path)

    def _keep(self, image_id: str, drawing: Drawing) -> None:
        segments = [{"name": name, "idx": value} for value, name in sorted(drawing.names.items())]
        with TemporaryDirectory(prefix="fedxai-") as private:
            file = Path(private) / f"label{SUFFIX}"
            Volume(voxels=drawing.labels, affine=drawing.affine).write(file)
            info = {"label_info": segments, "annotator": drawing.reader}
            super().save_label(image_id, str(file), DefaultLabelTag.FINAL, info)


def drawn_by_hand(labels: NDArray[np.uint8], names: Mapping[int, str]) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """A label map and its names without the saliency bands, which viewers save with what was drawn."""
    bands = [value for value, name in names.items() if is_band(name)]
    kept = {value: name for value, name in names.items() if value not in bands}
    return np.where(np.isin(labels, bands), 0, labels).astype(np.uint8), kept


def names_of(segments: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """Names by value from the list that viewers send with a label map: ``name``, and ``idx`` or else the place.

    Raises:
        CohortError: it is no such list.
    """
    try:
        return {int(item.get("idx") or place): str(item["name"]) for place, item in enumerate(segments, start=1)}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CohortError("label_info must list the segments, each with name and idx.") from None
