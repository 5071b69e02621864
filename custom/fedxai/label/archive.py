# SPDX-License-Identifier: Apache-2.0
"""A hospital's studies, over DICOMweb or in a folder: series become volumes, what is drawn becomes DICOM objects."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.misc import is_dicom
from pydicom.uid import SegmentationStorage

from fedxai.errors import CohortError, RunError
from fedxai.intake.dicom.instance import read_instance
from fedxai.intake.dicom.numbers import same_pixels, volume_of
from fedxai.intake.dicom.reading import in_silence
from fedxai.intake.dicom.regions import referenced_series, region_of
from fedxai.intake.dicom.stacks import Stack, stacks_of
from fedxai.intake.resample import onto_grid
from fedxai.intake.volume import Volume
from fedxai.label.dicom_folder import DicomFolder, files_in, is_uid
from fedxai.label.grids import IMAGES
from fedxai.report.dicom_region import Drawing

MODALITIES = ("CT", "MR", "PT")
_LONGEST_NAME = 64
_NAMED = "00081115"  # ReferencedSeriesSequence
_WEB = ("http://", "https://")


@dataclass(frozen=True, kw_only=True)
class Series:
    """One volume of the archive, brought here.

    Attributes:
        stack: its slices, files among them.
        folder: where the files lie.
    """

    stack: Stack
    folder: Path

    def volume(self) -> Volume:
        """Real values, axes as in the files."""
        with in_silence():
            return volume_of(self.stack)

    def headers(self) -> list[Dataset]:
        """Header of every file, whole: what is written back takes over patient and study."""
        paths = dict.fromkeys(frame.path for frame in self.stack.frames)
        with in_silence():
            return [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]


class Archive:
    """The few things that are asked of a DICOMweb archive, or of a folder as if it were one.

    Args:
        place: root of its DICOMweb service, or the folder.
        session: a :class:`requests.Session` that knows how to log in, where the archive asks for it.
    """

    def __init__(self, place: str, *, session: Any = None) -> None:
        web = place.startswith(_WEB)
        self._client: Any = _over_the_web(place, session) if web else DicomFolder(Path(place))
        self._remedy = "is it running?" if web else "may its files be read and written?"
        self._referenced: dict[str, frozenset[str]] = {}  # of a SEG that is stored, nothing changes any more

    def series(self, modalities: Sequence[str] = MODALITIES, **within: str) -> dict[str, str]:
        """SeriesInstanceUIDs of the archive's volumes, and the study of each.

        Args:
            modalities: of which kinds.
            within: what else they must have, by keyword.

        Raises:
            RunError: the archive does not answer.
        """
        found: dict[str, str] = {}
        for modality in modalities:
            for item in self._ask(self._client.search_for_series, search_filters={"Modality": modality, **within}):
                dataset = Dataset.from_json(item)
                found[str(dataset.SeriesInstanceUID)] = str(dataset.StudyInstanceUID)
        return found

    def fetch(self, series: str, folder: Path) -> Series:
        """Bring a series into an empty or new folder, files by number; nothing the archive says becomes a name.

        Raises:
            RunError: the archive does not answer.
            CohortError: there is no such series, or it is not one volume.
        """
        study = self.study_of(series)
        folder.mkdir(parents=True, exist_ok=True)
        for number, dataset in enumerate(self._ask(self._client.retrieve_series, study, series)):
            dataset.save_as(folder / f"{number:06d}.dcm", enforce_file_format=True)
        return read_series(folder)

    def study_of(self, series: str) -> str:
        """Study that a series belongs to.

        Raises:
            RunError: the archive does not answer.
            CohortError: it has no such series.
        """
        if not is_uid(series):
            raise CohortError("A series must be named by its SeriesInstanceUID, digits and dots.")
        filters = {"SeriesInstanceUID": series}
        for item in self._ask(self._client.search_for_series, search_filters=filters):
            dataset = Dataset.from_json(item)
            if str(dataset.SeriesInstanceUID) == series:
                return str(dataset.StudyInstanceUID)
        raise CohortError("The archive has no such series.")

    def store(self, first: Any, *more: Any) -> str:
        """Store the DICOM objects of one series in one request (STOW-RS) and return their SeriesInstanceUID.

        Raises:
            RunError: the archive does not answer, or refuses an object.
        """
        answer = self._ask(self._client.store_instances, [first, *more])
        stored = {str(item.ReferencedSOPInstanceUID) for item in answer.get("ReferencedSOPSequence") or []}
        if not {str(item.SOPInstanceUID) for item in (first, *more)} <= stored or answer.get("FailedSOPSequence"):
            raise RunError("The archive refused what was to be stored; its log says why.")
        return str(first.SeriesInstanceUID)

    def segmentations(self, series: str) -> list[Dataset]:
        """Every DICOM SEG of its study that was drawn on a series, pixels included, oldest first.

        Raises:
            RunError: the archive does not answer.
            CohortError: it has no such series.
        """
        found: list[Dataset] = []
        for (uid, study), drawn_on in self._drawn_on(StudyInstanceUID=self.study_of(series)).items():
            if series in drawn_on:
                found += [seg for seg in self._ask(self._client.retrieve_series, study, uid) if _is_seg(seg)]
        return sorted(found, key=lambda seg: (str(seg.get("ContentDate")), str(seg.get("ContentTime"))))

    def drawn(self) -> set[str]:
        """SeriesInstanceUIDs that somebody has drawn on.

        Raises:
            RunError: the archive does not answer.
        """
        return {series for drawn_on in self._drawn_on().values() for series in drawn_on}

    def _drawn_on(self, **within: str) -> dict[tuple[str, str], frozenset[str]]:
        """Per series of SEGs that is there now, and its study, the series that it was drawn on."""
        found: dict[tuple[str, str], frozenset[str]] = {}
        for uid, study in self.series(["SEG"], **within).items():
            if uid not in self._referenced:
                items = self._ask(self._client.retrieve_series_metadata, study, uid)
                named = (referenced_series(Dataset.from_json(_only(item, _NAMED))) for item in items)
                self._referenced[uid] = frozenset(series for names in named for series in names)
            found[uid, study] = self._referenced[uid]
        return found

    def _ask(self, question: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            with in_silence():
                return question(*args, **kwargs)
        except Exception as error:  # requests' errors, and whatever a broken answer makes the parser stumble over
            raise RunError(f"The archive did not answer ({type(error).__name__}); {self._remedy}") from None


def open_archive(place: str) -> Archive:
    """The archive that a site serves, with the name and password of MONAI Label's settings where it asks for them.

    Args:
        place: root of its DICOMweb service, or a folder of DICOM files.
    """
    import requests
    from monailabel.config import settings

    session = requests.Session()
    if settings.MONAI_LABEL_DICOMWEB_USERNAME and settings.MONAI_LABEL_DICOMWEB_PASSWORD:
        session.auth = (settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD)
    return Archive(place.rstrip("/"), session=session)


def reads_series(studies: str) -> bool:
    """Whether studies are series of DICOM: an archive's, or of a folder with DICOM files and no images beside them."""
    if studies.startswith(_WEB):
        return True
    folder = Path(studies)
    if any(path.name.endswith(IMAGES) for path in folder.iterdir()):
        return False
    return any(is_dicom(path) for path, _ in files_in(folder))


def _over_the_web(url: str, session: Any) -> Any:
    from dicomweb_client import DICOMwebClient

    client = DICOMwebClient(url, session=session)
    client.set_http_retry_params(max_attempts=2, wait_exponential_multiplier=100)  # else it tries 30 s
    return client


def read_series(folder: Path) -> Series:
    """Read the files of one series in a folder.

    Raises:
        CohortError: they are not one volume, or names may be burnt into the pictures.
    """
    instances = [read_instance(path, allow_burned_in=False) for path in sorted(folder.glob("*.dcm"))]
    if reasons := [instance.reason for instance in instances if instance.reason]:
        raise CohortError(reasons[0])
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
    return Series(stack=stack, folder=folder)


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
            mask = region_of([path], series.stack, [name])
            if mask is not None:
                labels[onto_grid(mask, image).voxels > 0] = number
    creator = seg.get("ContentCreatorName")
    shown = {number: _shown(name) for number, name in names.items()}
    return Drawing(
        labels=labels, affine=image.affine, names=shown, reader=_shown(creator.family_name if creator else "")
    )


def _shown(text: object) -> str:
    """A name that somebody else wrote, as far as it can be shown."""
    return "".join(letter for letter in str(text or "") if letter.isprintable()).strip()[:_LONGEST_NAME] or "unknown"


def _only(item: dict[str, Any], tag: str) -> dict[str, Any]:
    """One attribute of DICOM JSON, so that nothing else in it can disturb."""
    return {key: value for key, value in item.items() if key == tag}


def _is_seg(dataset: Dataset) -> bool:
    return str(dataset.get("SOPClassUID")) == str(SegmentationStorage)
