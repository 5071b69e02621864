# SPDX-License-Identifier: Apache-2.0
"""A folder of patients' images that is made in hiding and appears whole; what a killed run left goes with the next."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from fedxai.report.files import disk

_OURS = ".fedxai-"
_MARK = "NEVER_LEAVES_THE_SITE.txt"
_MARK_TEXT = """This folder never leaves the site. It shows patients' images and lists single cases.
Summary figures leave a site only through the federation's own gate, which holds back small counts.
"""


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Lend a hidden, marked folder beside ``folder``; it takes that place, whole, when the block ends without an error.

    A process that is killed cannot remove its own. So a hidden folder is known by its name and held by its process with
    a lock that the system lets go when the process ends, and one of the same ``folder`` that nobody holds is removed
    before a new one is made.

    Raises:
        RunError: when the disk refuses; an earlier folder is then kept.
    """
    hidden = f".{folder.name}.unfinished"
    with ExitStack() as holding:
        with disk(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            _remove_left_over(folder.parent, f"{hidden}{_OURS}")
            made = Path(mkdtemp(prefix=_OURS, dir=folder.parent))
            holding.enter_context(_held(made, fcntl.LOCK_SH))
            stage = made.rename(made.with_name(f"{hidden}{made.name}"))  # held before it can look left over
        try:
            with disk(folder):
                (stage / _MARK).write_text(_MARK_TEXT, encoding="utf-8")
            yield stage
            with disk(folder):
                _replace(folder, stage)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def _remove_left_over(parent: Path, prefix: str) -> None:
    for path in parent.iterdir():
        if path.name.startswith(prefix):
            with suppress(OSError), _held(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(path)


@contextmanager
def _held(folder: Path, how: int) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)


def _replace(folder: Path, stage: Path) -> None:
    """Two renames; the earlier folder is deleted only when the new one stands."""
    stage.chmod(0o755)
    old = stage.with_name(f"{stage.name}-old")
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(stage, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
