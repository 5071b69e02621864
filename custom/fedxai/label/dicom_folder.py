# SPDX-License-Identifier: Apache-2.0
"""A folder of DICOM files, asked as a DICOMweb archive is: what lies there now, by series, not by the files' names."""

import logging
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.misc import is_dicom

from fedxai.intake.dicom.reading import in_silence

STORED = "fedxai"  # where regions and saliency are put, in the folder
_ASKED = ("Modality", "Manufacturer", "StudyInstanceUID", "SeriesInstanceUID", "ReferencedSeriesSequence")
_FRESH = 1.0  # seconds that a look at the folder holds, as long as answers of an archive do
_UID = re.compile(r"(?=.{1,64}$)[0-9]+(\.[0-9]+)*")

_log = logging.getLogger(__name__)
_Stamp = tuple[int, int, int]


class DicomFolder:
    """The few questions of :class:`dicomweb_client.DICOMwebClient` that :class:`fedxai.label.archive.Archive` asks.

    Its own client for folders keeps a database that belongs to one thread, and takes what files say for their paths.

    Args:
        folder: searched with all its subfolders; links are not followed, hidden files not read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Path, tuple[_Stamp, Dataset | None]] = {}
        self._looked = -_FRESH
        self._looking = Lock()

    def search_for_series(self, *, search_filters: Mapping[str, str], fields: object = ()) -> list[dict[str, Any]]:
        """Series whose attributes are these, each once, as DICOM JSON with all fields that are ever asked for."""
        del fields
        fitting = (
            header
            for header in self._headers().values()
            if all(str(header.get(name, "")) == value for name, value in search_filters.items())
        )
        return [header.to_json_dict() for header in {str(one.SeriesInstanceUID): one for one in fitting}.values()]

    def retrieve_series(self, study: str, series: str) -> list[Dataset]:
        """Every file of a series, whole."""
        return [pydicom.dcmread(path) for path in self._files_of(study, series)]

    def retrieve_series_metadata(self, study: str, series: str) -> list[dict[str, Any]]:
        """What is asked of headers, as DICOM JSON."""
        headers = self._headers()
        return [headers[path].to_json_dict() for path in self._files_of(study, series)]

    def store_instances(self, datasets: Sequence[Dataset]) -> Dataset:
        """Put the objects of one new series into a folder of its own, all or none."""
        home = self._folder / STORED
        home.mkdir(exist_ok=True)
        with TemporaryDirectory(prefix=".part-", dir=home) as private:
            whole = Path(private) / "series"
            whole.mkdir()
            for number, dataset in enumerate(datasets):
                dataset.save_as(whole / f"{number:06d}.dcm", enforce_file_format=True)
            whole.rename(home / str(datasets[0].SeriesInstanceUID))
        self._looked = -_FRESH
        answer = Dataset()
        answer.ReferencedSOPSequence = [_referenced(dataset) for dataset in datasets]
        return answer

    def _files_of(self, study: str, series: str) -> list[Path]:
        wanted = (study, series)
        return [
            path
            for path, header in self._headers().items()
            if (str(header.StudyInstanceUID), str(header.SeriesInstanceUID)) == wanted
        ]

    def _headers(self) -> dict[Path, Dataset]:
        """By file, what is asked of its header; of a file that has not changed it is not read again."""
        with self._looking:
            if time.monotonic() - self._looked >= _FRESH:
                known = self._known
                self._known = {path: _read(path, stamp, known.get(path)) for path, stamp in files_in(self._folder)}
                self._looked = time.monotonic()
            return {path: header for path, (_, header) in self._known.items() if header is not None}


def files_in(folder: Path) -> Iterator[tuple[Path, _Stamp]]:
    """Regular files of a folder and its subfolders, and what changes with their content."""
    for home, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(home) / name
            about = path.lstat()
            if stat.S_ISREG(about.st_mode) and not name.startswith("."):
                yield path, (about.st_ino, about.st_mtime_ns, about.st_size)


def is_uid(text: str) -> bool:
    """Whether a text could be DICOM's unique identifier: at most 64 digits and dots between them."""
    return _UID.fullmatch(text) is not None


def _read(path: Path, stamp: _Stamp, before: tuple[_Stamp, Dataset | None] | None) -> tuple[_Stamp, Dataset | None]:
    """What is asked of a file's header; None where it is no DICOM object of a series, or is damaged."""
    if before is not None and before[0] == stamp:
        return before
    try:
        with in_silence():
            if not is_dicom(path):
                return stamp, None
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_ASKED))
            del header.file_meta
            named = all(is_uid(str(header.get(name) or "")) for name in ("StudyInstanceUID", "SeriesInstanceUID"))
            return stamp, header if named else None
    except Exception as error:  # pydicom raises whatever a damaged file makes it stumble over
        _log.warning("A file of the folder of studies cannot be read as DICOM (%s).", type(error).__name__)
        return stamp, None


def _referenced(dataset: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    return item
