# SPDX-License-Identifier: Apache-2.0
"""A private folder to unpack an export into; what a killed run left of one goes when the next run begins."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp

from fedxai.errors import CohortError

_PREFIX = "fedxai-unpacked-"


@contextmanager
def private_folder() -> Iterator[Path]:
    """Lend a folder in TMPDIR that only its owner can read; it goes when the block ends.

    A process that is killed cannot remove its own. So each folder is held by its process with a lock that the system
    lets go when the process ends, and one that nobody holds is removed before a new one is made.

    Raises:
        CohortError: TMPDIR takes no folder.
    """
    try:
        root = Path(gettempdir())
        for stale in root.glob(f"{_PREFIX}*"):
            with suppress(OSError), _held(stale, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(stale)
        made = Path(mkdtemp())
    except OSError as error:
        raise CohortError(f"The temporary folder cannot be used: {error.strerror or error}; set TMPDIR.") from None
    with _held(made, fcntl.LOCK_SH):
        private = made.rename(root / f"{_PREFIX}{made.name}")  # held before others can take it for left over
        try:
            yield private
        finally:
            shutil.rmtree(private)


@contextmanager
def _held(folder: Path, how: int) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)
