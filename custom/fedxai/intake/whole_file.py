# SPDX-License-Identifier: Apache-2.0
"""A file of a cohort reaches the disk whole or not at all, also where two workers write the same one."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write under a hidden name of this process (``.NAME.PID.part``, which the next intake sweeps), then move.

    Raises:
        OSError: the disk refuses; nothing half-written stays.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
