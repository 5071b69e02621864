# SPDX-License-Identifier: Apache-2.0
"""The digest of a file that may be too large for memory."""

import hashlib
from pathlib import Path

_PIECE = 1 << 20


def sha256(file: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces.

    Raises:
        OSError: the file cannot be read.
    """
    total = hashlib.sha256()
    with file.open("rb") as stream:
        for piece in iter(lambda: stream.read(_PIECE), b""):
            total.update(piece)
    return total.hexdigest()
