# SPDX-License-Identifier: Apache-2.0
"""One file of an export, as much of it as is needed to say where it belongs; its values stay in memory only."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydicom.dataset import Dataset
from pydicom.uid import UID

from fedxai.errors import CohortError
from fedxai.intake.dicom.burned_in import check_text
from fedxai.intake.dicom.frames import Frame, frames_of
from fedxai.intake.dicom.reading import in_silence, read_header
from fedxai.intake.dicom.regions import DRAWN, referenced_series
from fedxai.records import MANUFACTURER

Kind = Literal["slices", "picture", "drawn", "localizer", "made here", "cut", "other"]
KEYS: dict[str, str] = {
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "patient": "PatientID",
    "accession": "AccessionNumber",
}
MODALITIES = (
    "CR",
    "CT",
    "DX",
    "ES",
    "GM",
    "IO",
    "MG",
    "MR",
    "NM",
    "OP",
    "OT",
    "PT",
    "PX",
    "RF",
    "SM",
    "US",
    "XA",
    "XC",
)
SLICED = ("CT", "MR", "PT")
PICTURED = tuple(code for code in MODALITIES if code not in SLICED)
_SIZED = ("Image Storage", "US Volume Storage")  # in the names of the standard's classes of images
MADE_HERE = f"{MANUFACTURER} made them, saliency of a model and no image of a patient; leave them out of the export."
_NO_IMAGES = ("RTDOSE", "RTPLAN", "SR", "KO", "PR", "ECG", "REG", "SEG", "RTSTRUCT", "DOC", "PLAN", "FID", "RWV")


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A file's place among patients, studies and series, and what it holds.

    Attributes:
        keys: values that a table may know it by; never shown.
        patient: what its pseudonym is made of.
        frames: the slices in it.
        pictures: how many frames it shows.
        drawn_on: series that its masks or contours belong to.
        reason: why it cannot be taken.

    What a reader drew at our desk is ``drawn`` like any other region; ``made here`` is what shows saliency; ``cut`` is
    an image that ends before it says of which series it is.
    """

    path: Path
    kind: Kind
    modality: str
    keys: dict[str, str]
    patient: str
    frames: list[Frame] = field(default_factory=list)
    pictures: int = 0
    drawn_on: frozenset[str] = frozenset()
    reason: str = ""


def read_instance(path: Path, *, allow_burned_in: bool) -> Instance:
    """Read a file's header.

    Raises:
        CohortError: it is no DICOM, or damaged beyond saying whose it is.
    """
    header = read_header(path)
    try:
        with in_silence():
            return _instance(header, path, allow_burned_in)
    except Exception as error:  # a value that is not what its attribute may hold, where it says whose the file is
        raise CohortError(f"A file cannot say whose it is ({type(error).__name__}); export the study again.") from None


def _instance(header: Dataset, path: Path, allow_burned_in: bool) -> Instance:
    instance = Instance(
        path=path,
        kind=_kind(header),
        modality=modality_of(header),
        keys={key: str(header.get(keyword) or "").strip() for key, keyword in KEYS.items()},
        patient=_patient(header),
    )
    try:
        return _with_content(instance, header, allow_burned_in)
    except CohortError as error:
        return replace(instance, reason=str(error))
    except Exception as error:
        reason = f"An attribute holds what it must not ({type(error).__name__}); export the study again."
        return replace(instance, reason=reason)


def _with_content(instance: Instance, header: Dataset, allow_burned_in: bool) -> Instance:
    if instance.kind == "made here":
        raise CohortError(MADE_HERE)
    if instance.kind == "cut":
        raise CohortError("An image is cut short before it says of which series it is; export the study again.")
    if instance.kind in ("slices", "picture"):
        if _lacks_size(header):
            raise CohortError("Rows or Columns are missing: the file is cut short or damaged; export the study again.")
        check_text(header, allowed=allow_burned_in)
    if instance.kind == "slices":
        return replace(instance, frames=frames_of(header, instance.path))
    if instance.kind == "picture":
        return replace(instance, pictures=int(header.get("NumberOfFrames") or 1))
    return replace(instance, drawn_on=frozenset(referenced_series(header)))


def modality_of(header: Dataset) -> str:
    """Return the code of what made the image, ``OT`` for none of the known ones (it may hold anything)."""
    code = str(header.get("Modality") or "").strip().upper()
    return code if code in MODALITIES else "OT"


def _kind(header: Dataset) -> Kind:
    sop_class = str(header.get("SOPClassUID") or "")
    modality = str(header.get("Modality") or "").strip().upper()
    if sop_class in DRAWN:
        return "drawn"
    if of_our_making(header):
        return "made here"
    if _lacks_size(header) and "SeriesInstanceUID" not in header:
        return "cut"
    sized = header.get("Rows") and header.get("Columns")
    if modality in _NO_IMAGES or not (sized or _lacks_size(header)):
        return "other"
    if "LOCALIZER" in [str(word).upper() for word in header.get("ImageType") or []]:
        return "localizer"
    captured = "Secondary Capture" in UID(sop_class).name
    return "slices" if modality in SLICED and not captured else "picture"


def of_our_making(header: Dataset) -> bool:
    """Whether FedXAI-Med wrote an object: saliency, or a region that a reader drew at our desk."""
    return str(header.get("Manufacturer") or "").strip() == MANUFACTURER


def _lacks_size(header: Dataset) -> bool:
    """Whether an image does not say its size; raw data and private objects have a modality too, and need none."""
    sop_class = UID(str(header.get("SOPClassUID") or "")).name
    return any(name in sop_class for name in _SIZED) and not (header.get("Rows") and header.get("Columns"))


def _patient(header: Dataset) -> str:
    """Return who the patient is: an empty PatientID joins nobody with anybody, the study stands for it."""
    number = str(header.get("PatientID") or "").strip()
    if not number:
        return f"study {header.get('StudyInstanceUID') or header.get('SOPInstanceUID')}"
    return f"{header.get('IssuerOfPatientID') or ''}\0{number}"
