# SPDX-License-Identifier: Apache-2.0
"""Unpack the ZIP of an export; one that is a bomb, or reaches out of its folder, is refused whole."""

import errno
import stat
import zipfile
import zlib
from pathlib import Path, PureWindowsPath

from fedxai.errors import CohortError

MOST_FILES = 1_000_000
MOST_BYTES = 256 * 2**30
MOST_RATIO = 200  # images and DICOM headers stay far below; a bomb is made of more
_SMALL = 2**20  # below this a ratio says nothing
_PIECE = 2**20


def unpack(archive: Path, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
    """Unpack the files of a ZIP under numbers for names, so that none of the hospital's names is used.

    Raises:
        CohortError: it is damaged or encrypted, a member's path is absolute or climbs (``..``), a member is a link,
            or members are too many, too large or compressed beyond what images are; or the disk refuses.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            _check(members, most_bytes)
            folder.mkdir(parents=True)
            for number, member in enumerate(members):
                _write(opened, member, folder / f"{number:07d}")
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError) as error:
        raise CohortError(f"The ZIP is damaged ({type(error).__name__}); export it again.") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CohortError("The temporary folder is full; set TMPDIR to a larger disk.") from None
        raise CohortError(f"The ZIP cannot be unpacked ({type(error).__name__}); copy it again.") from None


def _check(members: list[zipfile.ZipInfo], most_bytes: int) -> None:
    if len(members) > MOST_FILES:
        raise CohortError(f"The ZIP holds more than {MOST_FILES} files; export it in parts.")
    for member in members:
        if not stays(member.filename):
            raise CohortError("The ZIP has a member whose path leads out of its folder; it is not unpacked.")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise CohortError("The ZIP has a member that is a symbolic link; it is not unpacked.")
        if member.flag_bits & 1:
            raise CohortError("The ZIP is encrypted; unpack it first and give the folder.")
        if member.file_size > max(_SMALL, MOST_RATIO * member.compress_size):
            raise CohortError(f"The ZIP has a member that grows more than {MOST_RATIO} times; it is not unpacked.")
    if sum(member.file_size for member in members) > most_bytes:
        raise CohortError(f"The ZIP would take more than {most_bytes >> 30} GiB; export it in parts.")


def stays(name: str) -> bool:
    """Whether a path in an archive or index stays below its folder, as Unix and as Windows read it."""
    path = PureWindowsPath(name)  # knows / and \, drives and shares
    return bool(path.parts) and not path.drive and not path.root and ".." not in path.parts and "\0" not in name


def _write(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """Write at most what the member says that it is long; zipfile holds it to its checksum."""
    with opened.open(member) as source, path.open("xb") as target:
        while piece := source.read(_PIECE):
            target.write(piece)
