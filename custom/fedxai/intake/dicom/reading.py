# SPDX-License-Identifier: Apache-2.0
"""Open one DICOM file: only the attributes of :mod:`attributes`, in silence, or a sentence without a value."""

import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.config import IGNORE, settings
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)
from pydicom.uid import ImplicitVRLittleEndian as Implicit

from fedxai.errors import CohortError
from fedxai.intake.dicom.attributes import READ

_PIXELS = ("PixelData", "FloatPixelData")
_PREAMBLE, _MAGIC = 128, b"DICM"
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")  # of a file that a PACS stored without its preamble
_META = 128 + 4 + 12  # preamble, magic, and the element that says how long the file's meta information is
_PIECE = 2**16
_DEFLATED_MOST = 256 * 2**20


class NotDicom(CohortError):
    """The file is none of DICOM's; a folder may hold such files."""


def is_dicom(path: Path) -> bool:
    """Whether a file's first bytes may be DICOM's, with or without the preamble."""
    with path.open("rb") as opened:
        start = opened.read(_PREAMBLE + len(_MAGIC))
    return start[_PREAMBLE:] == _MAGIC or start[:2] in _FIRST_GROUPS


def read_header(path: Path) -> Dataset:
    """Read everything of a file that is ever used but its pixels; of a file that was cut short, what is whole.

    Raises:
        NotDicom: it is not a DICOM file.
        CohortError: it is, and is damaged.
    """
    return _read(path, [name for name in READ if name not in _PIXELS], header=True)


def read_image(path: Path) -> Dataset:
    """Read a file with its pixels, as far as they are ever used.

    Raises:
        CohortError: it is damaged.
    """
    return _read(path, list(READ), header=False)


@contextmanager
def in_silence() -> Iterator[None]:
    """Let no library say anything: what pydicom and highdicom warn of holds values of attributes."""
    quiet = [logging.getLogger(name) for name in ("pydicom", "highdicom", "pylibjpeg", "openjpeg")]
    levels = [logger.level for logger in quiet]
    mode = settings.reading_validation_mode
    settings.reading_validation_mode = IGNORE
    try:
        for logger in quiet:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        settings.reading_validation_mode = mode
        for logger, level in zip(quiet, levels, strict=True):
            logger.setLevel(level)


def _read(path: Path, names: list[Any], *, header: bool) -> Dataset:
    try:
        with path.open("rb") as opened, in_silence():
            bare = _without_preamble(path, opened)
            dataset = pydicom.dcmread(opened, force=bare, specific_tags=names, stop_before_pixels=header)
            _name_syntax(dataset)
            if header:
                _drop_what_is_cut(dataset)
    except NotDicom:
        raise
    except Exception as error:  # pydicom raises whatever a damaged file makes it stumble over
        raise CohortError(f"A file is damaged ({type(error).__name__}); export the study again.") from None
    if "SOPClassUID" not in dataset and "Rows" not in dataset:
        if bare or dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            raise NotDicom("A file holds no DICOM object.")
        raise CohortError("SOPClassUID is missing: a file is cut short or damaged; export the study again.")
    return dataset


def _without_preamble(path: Path, opened: BinaryIO) -> bool:
    """Whether the file begins with its first attribute; refuse what is no DICOM, or inflates without bounds."""
    start = opened.read(_PREAMBLE + len(_MAGIC))
    opened.seek(0)
    if start[_PREAMBLE:] == _MAGIC:
        _refuse_bomb(read_file_meta_info(path), opened)
        return False
    if start[:2] not in _FIRST_GROUPS:
        raise NotDicom("A file is not DICOM.")
    return True


def _refuse_bomb(meta: FileMetaDataset, opened: BinaryIO) -> None:
    """Inflate a deflated data set in pieces and stop when it becomes too large to be true."""
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    opened.seek(_META + int(meta.FileMetaInformationGroupLength))
    inflate, size, piece = zlib.decompressobj(-zlib.MAX_WBITS), 0, opened.read(_PIECE)
    while piece and not inflate.eof and size <= _DEFLATED_MOST:
        size += len(inflate.decompress(piece, _PIECE))
        piece = inflate.unconsumed_tail or opened.read(_PIECE)
    opened.seek(0)
    if size > _DEFLATED_MOST:
        raise ValueError("deflated data set too large")


def _drop_what_is_cut(dataset: Dataset) -> None:
    """Drop the value at which a file ends too soon: half a UID would be that of another series."""
    for element in list(dataset.values()):
        if isinstance(element, RawDataElement) and element.value and len(element.value) < element.length:
            del dataset[element.tag]


def _name_syntax(dataset: Dataset) -> None:
    """Write down the transfer syntax that pydicom found out by itself; only uncompressed ones can be."""
    meta = getattr(dataset, "file_meta", None)
    if meta is not None and "TransferSyntaxUID" in meta:
        return
    implicit, little = dataset.original_encoding
    dataset.file_meta = FileMetaDataset() if meta is None else meta
    explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = Implicit if implicit else explicit
