# SPDX-License-Identifier: Apache-2.0
"""A folder of patients' images that is made in hiding and appears whole; what a killed run left goes with the next."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fedxai.held_folder import held_folder
from fedxai.report.files import disk

_MARK = "NEVER_LEAVES_THE_SITE.txt"
_MARK_TEXT = """This folder never leaves the site. It shows patients' images and lists single cases.
Summary figures leave a site only through the federation's own gate, which holds back small counts.
"""


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Lend a hidden, marked folder beside ``folder``; it takes that place, whole, when the block ends without an error.

    Raises:
        RunError: when the disk refuses; an earlier folder is then kept.
    """
    with ExitStack() as holding:
        with disk(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            stage = holding.enter_context(held_folder(folder.parent, f".{folder.name}.unfinished.fedxai-"))
            (stage / _MARK).write_text(_MARK_TEXT, encoding="utf-8")
        yield stage
        with disk(folder):
            _replace(folder, stage)


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
