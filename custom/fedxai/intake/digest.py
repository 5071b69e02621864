# SPDX-License-Identifier: Apache-2.0
"""By what a source is known again: the contents of its files, and what is known beside them."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from fedxai.file_digest import sha256

_NONE = bytes(32)


def digest_of(paths: Iterable[Path | None], said: Sequence[object]) -> bytes:
    """Return the SHA-256 over each file's content (a file may be missing by design) and over ``said``, by its repr.

    Names have no part in it, and a file is never in memory whole.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256(repr(said).encode())
    for path in paths:
        digest.update(_NONE if path is None else bytes.fromhex(sha256(path)))
    return digest.digest()
