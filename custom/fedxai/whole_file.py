# SPDX-License-Identifier: Apache-2.0
"""A file reaches the disk whole or not at all, also where two processes write the same one."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Lend a hidden name of this process (``.NAME.PID.part``); what was written there takes ``path`` at the end.

    Whatever fails inside the block, ``path`` stays as it was and nothing half-written stays; what a killed process
    leaves has a name that nothing reads.

    Raises:
        OSError: the disk refuses.

    Example:
        >>> with whole_file(Path("weights.npz")) as unfinished:  # doctest: +SKIP
        ...     numpy.savez(unfinished, **weights)
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """:func:`whole_file` for content that is in memory.

    Raises:
        OSError: the disk refuses.
    """
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content)


def save_whole(path: Path, state: Any) -> None:
    """:func:`whole_file` for what PyTorch saves; of a full disk it would itself raise ``RuntimeError``.

    Raises:
        OSError: the disk refuses.
    """
    import torch

    content = io.BytesIO()
    torch.save(state, content)
    write_whole(path, content.getbuffer())
