# SPDX-License-Identifier: Apache-2.0
"""A hospital's studies, over DICOMweb or in a folder: series are found and brought here, DICOM objects stored."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.misc import is_dicom
from pydicom.uid import SegmentationStorage

from fedxai.errors import CohortError, RunError
from fedxai.intake.dicom.instance import of_our_making
from fedxai.intake.dicom.reading import in_silence
from fedxai.intake.dicom.regions import referenced_series
from fedxai.label.dicom_folder import DicomFolder, files_in, is_uid
from fedxai.label.grids import IMAGES
from fedxai.label.series import Series, read_series

_NAMED = "00081115"  # ReferencedSeriesSequence
_WEB = ("http://", "https://")


class Archive:
    """The few things that are asked of a DICOMweb archive, or of a folder as if it were one.

    Args:
        place: root of its DICOMweb service, or the folder.
        session: a :class:`requests.Session` that knows how to log in, where the archive asks for it.
        allow_burned_in: bring also pictures that may have text burnt in.
    """

    def __init__(self, place: str, *, session: Any = None, allow_burned_in: bool = False) -> None:
        web = place.startswith(_WEB)
        self._client: Any = _over_the_web(place, session) if web else DicomFolder(Path(place))
        self._allow_burned_in = allow_burned_in
        self._remedy = "is it running?" if web else "may its files be read and written?"
        self._referenced: dict[str, frozenset[str]] = {}  # of a SEG that is stored, nothing changes any more

    def images(self, modalities: Sequence[str]) -> set[str]:
        """SeriesInstanceUIDs of the archive's images; saliency that was stored there is none.

        Args:
            modalities: codes of those that are asked for.

        Raises:
            RunError: the archive does not answer.
        """
        found = (one for modality in modalities for one in self._series(Modality=modality))
        return {str(one.SeriesInstanceUID) for one in found if not of_our_making(one)}

    def has(self, image: str, modalities: Sequence[str]) -> bool:
        """Whether a name is one of :meth:`images`, without listing them.

        Raises:
            RunError: the archive does not answer.
        """
        found = self._series(SeriesInstanceUID=image) if is_uid(image) else ()
        return any(one.get("Modality") in modalities and not of_our_making(one) for one in found)

    def fetch(self, series: str, folder: Path) -> Series:
        """Bring a series into an empty or new folder, files by number; nothing the archive says becomes a name.

        Raises:
            RunError: the archive does not answer.
            CohortError: there is no such series, or it is neither one volume nor one picture.
        """
        study = self.study_of(series)
        folder.mkdir(parents=True, exist_ok=True)
        for number, dataset in enumerate(self._ask(self._client.retrieve_series, study, series)):
            dataset.save_as(folder / f"{number:06d}.dcm", enforce_file_format=True)
        return self.read(folder)

    def read(self, folder: Path) -> Series:
        """Read a series that was brought before.

        Raises:
            CohortError: as :meth:`fetch`.
        """
        return read_series(folder, allow_burned_in=self._allow_burned_in)

    def study_of(self, series: str) -> str:
        """Study that a series belongs to.

        Raises:
            RunError: the archive does not answer.
            CohortError: it has no such series.
        """
        if not is_uid(series):
            raise CohortError("A series must be named by its SeriesInstanceUID, digits and dots.")
        for one in self._series(SeriesInstanceUID=series):
            return str(one.StudyInstanceUID)
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
        return set(self.segs())

    def segs(self) -> dict[str, frozenset[str]]:
        """By SeriesInstanceUID of what somebody has drawn on, the SeriesInstanceUIDs of the SEGs that are there now.

        Raises:
            RunError: the archive does not answer.
        """
        found: dict[str, set[str]] = defaultdict(set)
        for (seg, _), drawn_on in self._drawn_on().items():
            for series in drawn_on:
                found[series].add(seg)
        return {series: frozenset(segs) for series, segs in found.items()}

    def _drawn_on(self, **within: str) -> dict[tuple[str, str], frozenset[str]]:
        """Per series of SEGs that is there now, and its study, the series that it was drawn on."""
        found: dict[tuple[str, str], frozenset[str]] = {}
        for one in self._series(Modality="SEG", **within):
            uid, study = str(one.SeriesInstanceUID), str(one.StudyInstanceUID)
            if uid not in self._referenced:
                items = self._ask(self._client.retrieve_series_metadata, study, uid)
                named = (referenced_series(Dataset.from_json(_only(item, _NAMED))) for item in items)
                self._referenced[uid] = frozenset(series for names in named for series in names)
            found[uid, study] = self._referenced[uid]
        return found

    def _series(self, **filters: str) -> Iterator[Dataset]:
        """Series with these attributes, by keyword; whatever else an archive answers is passed over."""
        for item in self._ask(self._client.search_for_series, fields=["Manufacturer"], search_filters=filters):
            found = Dataset.from_json(item)
            if all(str(found.get(name, value)) == value for name, value in filters.items()):
                yield found

    def _ask(self, question: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            with in_silence():
                return question(*args, **kwargs)
        except Exception as error:  # requests' errors, and whatever a broken answer makes the parser stumble over
            raise RunError(f"The archive did not answer ({type(error).__name__}); {self._remedy}") from None


def open_archive(place: str, *, allow_burned_in: bool = False) -> Archive:
    """The archive that a site serves, with the name and password of MONAI Label's settings where it asks for them.

    Args:
        place: root of its DICOMweb service, or a folder of DICOM files.
        allow_burned_in: bring also pictures that may have text burnt in.
    """
    import requests
    from monailabel.config import settings

    session = requests.Session()
    if settings.MONAI_LABEL_DICOMWEB_USERNAME and settings.MONAI_LABEL_DICOMWEB_PASSWORD:
        session.auth = (settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD)
    return Archive(place.rstrip("/"), session=session, allow_burned_in=allow_burned_in)


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


def _only(item: dict[str, Any], tag: str) -> dict[str, Any]:
    """One attribute of DICOM JSON, so that nothing else in it can disturb."""
    return {key: value for key, value in item.items() if key == tag}


def _is_seg(dataset: Dataset) -> bool:
    return str(dataset.get("SOPClassUID")) == str(SegmentationStorage)
