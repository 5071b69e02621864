# SPDX-License-Identifier: Apache-2.0
"""The site's key: names for patients and marks of files that nobody without it can trace back."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from fedxai.errors import CohortError

_LEAST_BYTES = 16


class SiteKey:
    """Keyed hashes (HMAC-SHA256), one family for each use, so that a name of one use is no name of another.

    The key stays in the site, and out of the cohort: with it, and only with it, a known patient's pseudonym can be
    computed. Cohorts of one site that shall share pseudonyms are made with one key.

    Args:
        secret: at least 16 random bytes.

    Raises:
        CohortError: it is shorter.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _LEAST_BYTES:
            raise CohortError(f"A site's key must have at least {_LEAST_BYTES} bytes, got {len(secret)}.")
        self._secret = secret

    @classmethod
    def open(cls, path: Path) -> "SiteKey":
        """Read the key at ``path``, or make one there that only its owner can read.

        Raises:
            CohortError: it cannot be read or made, or is too short.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        except OSError as error:
            raise CohortError(f"--key '{path}' cannot be made: {error.strerror or error}.") from None
        else:
            with os.fdopen(handle, "wb") as opened:
                opened.write(secrets.token_bytes(32))
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise CohortError(f"--key '{path}' cannot be read: {error.strerror or error}.") from None

    @property
    def name(self) -> str:
        """Tells keys apart, and tells nothing of this one: 16 hex digits."""
        return self._hash("key", b"")[:16]

    def pseudonym(self, patient: str) -> str:
        """Name a patient: ``p`` and 12 hex digits, the same in every cohort made with this key."""
        return "p" + self._hash("patient", patient.encode())[:12]

    def mark(self, content: bytes) -> str:
        """Mark what was read, to know it again: 32 hex digits."""
        return self._hash("source", content)[:32]

    def _hash(self, use: str, content: bytes) -> str:
        return hmac.new(self._secret, use.encode() + b"\0" + content, hashlib.sha256).hexdigest()
