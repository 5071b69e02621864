# SPDX-License-Identifier: Apache-2.0
"""A file reaches the disk whole or not at all, also where two processes write the same one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Lend a hidden name of this process (``.NAME.PID.part``); what was written there takes ``path`` at the end.

    Whatever fails inside the block, ``path`` stays as it was and nothing half-written stays; what a killed process
    leaves has a name that nothing reads.

    Raises:
        OSError: the disk refuses.

    Example:
        >>> with whole_file(Path("weights.pt")) as unfinished:  # doctest: +SKIP
        ...     torch.save(state, unfinished)
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """:func:`whole_file` for content that is in memory.

    Raises:
        OSError: the disk refuses.
    """
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content)
