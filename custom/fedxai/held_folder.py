# SPDX-License-Identifier: Apache-2.0
"""A hidden or private folder that goes when its process ends, or at the latest when the next one begins."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp


@contextmanager
def held_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Lend a new folder ``parent/PREFIX...`` that only its owner can read; what is still there at the end goes.

    A process that is killed cannot remove its own. So a folder is known by its prefix and held by its process with a
    lock that the system lets go when the process ends, and one that nobody holds is removed before a new one is made.

    Raises:
        OSError: the disk refuses.
    """
    for path in parent.iterdir():
        if path.name.startswith(prefix):
            with suppress(OSError), _held(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(path)
    made = Path(mkdtemp(prefix=".", dir=parent))
    with _held(made, fcntl.LOCK_SH):
        folder = made.rename(parent / f"{prefix}{made.name[1:]}")  # held before others can take it for left over
        try:
            yield folder
        finally:
            with suppress(FileNotFoundError):
                shutil.rmtree(folder)


@contextmanager
def _held(folder: Path, how: int) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)
