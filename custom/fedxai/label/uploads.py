# SPDX-License-Identifier: Apache-2.0
"""Uploaded files are read within bounds before anything else opens them: kind, header, size once unpacked."""

import gzip
import io
import math
import zipfile
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import IO, Any

from fedxai.errors import CohortError
from fedxai.label.refusals import Refusal

_HEAD = 1 << 20  # bytes in which a header must end
_PIECE = 1 << 20
_SLACK = 1 << 20  # bytes after the voxels: extensions, padding
_ENTRIES = 5000
_DEFLATED = b"1.2.840.10008.1.2.1.99"  # DICOM, compressed as a whole: it could unpack to anything
_NRRD_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "int16", "int16_t", "ushort", "unsigned short"), 2),
    **dict.fromkeys(("unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t"), 4),
    **dict.fromkeys(("longlong", "int64", "int64_t", "ulonglong", "unsigned long long", "uint64", "uint64_t"), 8),
    "float": 4,
    "double": 8,
}
IMAGES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".png", ".jpg", ".jpeg", ".dcm")
LABELS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".png", ".bin")  # .bin: OHIF sends the bytes of a label map alone


def examined(file: IO[bytes], name: str | None, *, kinds: Iterable[str], limit: int) -> str:
    """The ending of a file that is what its name says; the file stands at its begin again.

    Args:
        file: what was uploaded.
        name: what the caller calls it; nothing but its ending is used.
        kinds: the endings that are taken.
        limit: bytes that it may have once unpacked.

    Raises:
        Refusal: 415 for another kind, 413 when it would unpack to more than ``limit``, 400 when it is malformed.
    """
    ending = next((kind for kind in kinds if (name or "").lower().endswith(kind)), None)
    if ending is None:
        raise Refusal(415, f"Files are taken as {', '.join(kinds)}.")
    try:
        _CHECKS[ending](file, limit)
    except Refusal:
        raise
    # The readers are other people's and raise what they like; whatever it is, the file is not what it should be.
    except Exception as error:
        raise Refusal(400, f"The file cannot be read as {ending[1:]}.") from error
    finally:
        file.seek(0)
    return ending


def examined_archive(file: IO[bytes], *, limit: int) -> None:
    """Let a ZIP pass whose files are images, lie within it, and unpack to at most ``limit`` bytes.

    Raises:
        Refusal: 413 when it would unpack to more, 400 when it is malformed or a name leads out of it.
    """
    try:
        entries = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise Refusal(400, "The file cannot be read as zip.") from error
    finally:
        file.seek(0)
    if len(entries) > _ENTRIES or sum(entry.file_size for entry in entries) > limit:
        raise Refusal(413, "The archive would unpack to more than this server takes.")
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        link = entry.external_attr >> 16 & 0o170000 == 0o120000
        if path.is_absolute() or ".." in path.parts or link or ":" in path.parts[0]:
            raise Refusal(400, "The archive holds a name that leads out of it.")
        if not entry.is_dir() and path.suffix and not path.name.lower().endswith(IMAGES):
            raise Refusal(415, f"The files of an archive are taken as {', '.join(IMAGES)}.")


def _nifti(file: IO[bytes], limit: int) -> None:
    import nibabel

    head = file.read(348)
    file.seek(0)
    header = nibabel.Nifti1Header(head, check=True)
    wanted = int(header["vox_offset"]) + _volume(header.get_data_shape(), header.get_data_dtype().itemsize)
    if bytes(header["magic"].tobytes())[:3] != b"n+1":
        raise CohortError("no single-file NIfTI-1")
    _measured(file, wanted, limit)


def _nifti_gz(file: IO[bytes], limit: int) -> None:
    with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
        _nifti(unpacked, limit)  # pyright: ignore[reportArgumentType]


def _nrrd(file: IO[bytes], limit: int) -> None:
    import nrrd

    head = file.read(_HEAD)
    ends = [head.find(mark) + len(mark) for mark in (b"\n\n", b"\r\n\r\n") if mark in head]
    if not ends:
        raise CohortError("header without end")
    end = min(ends)
    header: Any = nrrd.read_header(io.BytesIO(head[:end]))
    if {"data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip"} & header.keys():
        raise Refusal(400, "An NRRD must hold its own voxels, right after its header.")
    wanted = _volume(header["sizes"], _NRRD_TYPES[header["type"]])
    file.seek(end)
    if header["encoding"] == "raw":
        _measured(file, wanted, limit)
    elif header["encoding"] in ("gzip", "gz"):
        with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
            _measured(unpacked, wanted, limit)  # pyright: ignore[reportArgumentType]
    else:
        raise Refusal(400, "An NRRD is taken as raw or gzip.")


def _picture(file: IO[bytes], limit: int) -> None:
    from PIL import Image

    try:
        with Image.open(file, formats=("PNG", "JPEG")) as picture:
            _within(math.prod(picture.size) * 8, limit)
            picture.load()
    except Image.DecompressionBombError as error:
        raise Refusal(413, "The picture has more pixels than this server takes.") from error


def _dicom(file: IO[bytes], limit: int) -> None:
    import pydicom

    head = file.read(4096)
    if head[128:132] != b"DICM" or _DEFLATED in head:
        raise CohortError("no plain DICOM file")
    file.seek(0)
    wanted = ("SOPClassUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated")
    found = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(wanted))  # pyright: ignore
    frames = int(found.get("NumberOfFrames") or 1) * int(found.get("SamplesPerPixel") or 1)
    _within(_volume((found.Rows, found.Columns, frames), max(1, found.BitsAllocated // 8)), limit)


def _bytes(file: IO[bytes], limit: int) -> None:
    _within(file.seek(0, io.SEEK_END), limit)


def _volume(shape: Iterable[Any], itemsize: int) -> int:
    """Bytes of an array.

    Raises:
        CohortError: when a length is not positive.
    """
    lengths = [int(length) for length in shape]
    if not lengths or min(lengths) < 1:
        raise CohortError("lengths must be positive")
    return math.prod(lengths) * itemsize


def _measured(file: IO[bytes], wanted: int, limit: int) -> None:
    """Read what is left and compare it with what the header promised.

    Raises:
        Refusal: 413 when there is more than a header says or a server takes.
        CohortError: when there is less.
    """
    _within(wanted, limit)
    left = wanted + _SLACK
    while piece := file.read(_PIECE):
        left -= len(piece)
        if left < 0:
            raise Refusal(413, "The file unpacks to more than its header says.")
    if left > _SLACK:
        raise CohortError("fewer voxels than the header says")


def _within(size: int, limit: int) -> None:
    if size > limit:
        raise Refusal(413, f"The file would unpack to more than {limit / 2**20:.0f} MB.")


_CHECKS: dict[str, Callable[[IO[bytes], int], None]] = {
    ".nii": _nifti,
    ".nii.gz": _nifti_gz,
    ".nrrd": _nrrd,
    ".seg.nrrd": _nrrd,
    ".bin": _bytes,
    ".png": _picture,
    ".jpg": _picture,
    ".jpeg": _picture,
    ".dcm": _dicom,
}
