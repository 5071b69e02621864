# SPDX-License-Identifier: Apache-2.0
"""Find the files of an export: in a folder, behind a DICOMDIR, in a ZIP; nothing outside is ever opened."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fedxai.errors import CohortError
from fedxai.intake.dicom.archive import stays, unpack
from fedxai.intake.dicom.private_folder import private_folder
from fedxai.intake.dicom.reading import in_silence, is_dicom

_INDEX = "DICOMDIR"


@dataclass(kw_only=True)
class Found:
    """Files that may be DICOM, and in plain words what was passed over and what was refused, without names."""

    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@contextmanager
def open_export(path: Path) -> Iterator[Found]:
    """Find the files of an export, and unpack archives into a private folder that goes when the block ends.

    Symbolic links are not followed, and only regular files are opened. File names mean nothing; a file counts by
    its first bytes; one that cannot be opened is refused, and the rest goes on. A DICOMDIR is held against the folder
    and never followed.

    Args:
        path: a folder, a ZIP, or a DICOMDIR (then the folder it lies in).

    Raises:
        CohortError: there is nothing of the kind, no DICOM in it, or an archive is hostile.
    """
    path = path.parent if path.name == _INDEX and os.path.isfile(path) else path
    if not os.path.exists(path):
        raise CohortError(f"'{path}' does not exist or is closed; give the folder or the ZIP that the PACS exported.")
    with private_folder() as private:
        found = Found()
        for file in _regular(path, found):
            try:
                found.files += _dicom_in(file, private, found, alone=file == path)
            except OSError as error:
                found.refused.append(_closed(error))
        _leave_indexes_out(found)
        if not found.files:
            if found.refused:
                raise CohortError(found.refused[0])
            raise CohortError(f"'{path}' holds no DICOM file; give the folder or the ZIP that the PACS exported.")
        yield found


def _regular(path: Path, found: Found) -> Iterator[Path]:
    """Walk in a fixed order through what is a plain file, without following a link."""
    if path.is_file():
        yield path
        return
    links = 0
    for folder, folders, files in os.walk(path, onerror=lambda error: found.refused.append(_closed(error))):
        folders.sort()
        links += sum(os.path.islink(os.path.join(folder, name)) for name in folders)
        for name in sorted(files):
            entry = Path(folder) / name
            try:
                mode = entry.lstat().st_mode
            except OSError as error:
                found.refused.append(_closed(error))
                continue
            links += stat.S_ISLNK(mode)
            if stat.S_ISREG(mode):
                yield entry
    if links:
        found.notes.append(f"{links} symbolic links were not followed; copy what they stand for if it is needed.")


def _closed(error: OSError) -> str:
    """Say why a file or folder was passed over; its name may be a patient's."""
    return f"A file or folder cannot be opened ({type(error).__name__}); make it readable and run again."


def _dicom_in(file: Path, private: Path, found: Found, *, alone: bool) -> list[Path]:
    if _is_zip(file):
        return _unpacked(file, private, found, alone=alone)
    return [file] if is_dicom(file) else []


def _unpacked(archive: Path, private: Path, found: Found, *, alone: bool) -> list[Path]:
    """Unpack one archive; where it is one among many files, its refusal does not stop the rest."""
    inner = private / f"{len(list(private.iterdir())):04d}"
    try:
        unpack(archive, inner)
    except CohortError as error:
        shutil.rmtree(inner, ignore_errors=True)
        if alone:
            raise
        found.refused.append(str(error))
        return []
    return [entry for entry in _regular(inner, found) if is_dicom(entry)]


def _is_zip(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def _leave_indexes_out(found: Found) -> None:
    """Take DICOMDIRs out of the files, and say what they list that is not there or lies outside."""
    indexes = [file for file in found.files if file.name.upper().startswith(_INDEX)]
    found.files = [file for file in found.files if file not in set(indexes)]
    for index in indexes:
        missing, hostile = _held_against(index)
        if hostile:
            found.notes.append(f"{_INDEX}: {hostile} ReferencedFileID lead out of its folder; they are not followed.")
        if missing:
            found.notes.append(f"{_INDEX}: {missing} files that it lists are not there; the export is incomplete.")


def _held_against(index: Path) -> tuple[int, int]:
    """Count the files that a DICOMDIR lists and that are missing, or lie outside its folder."""
    import pydicom

    try:
        with in_silence():
            records = pydicom.dcmread(index, specific_tags=["DirectoryRecordSequence"]).get("DirectoryRecordSequence")
            names = [record.get("ReferencedFileID") for record in records or []]
    except Exception:  # whatever is wrong with it: it is not needed
        return 0, 0
    paths = [name if isinstance(name, str) else "/".join(name) for name in names if name]
    hostile = [path for path in paths if not stays(path)]
    missing = [path for path in paths if stays(path) and not os.path.isfile(index.parent / path)]
    return len(missing), len(hostile)
