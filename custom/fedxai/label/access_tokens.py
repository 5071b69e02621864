# SPDX-License-Identifier: Apache-2.0
"""Tokens that a site issues itself: a private file with the hash, name, role and last day of each."""

import hashlib
import json
import secrets
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from fedxai.errors import SettingsError
from fedxai.label.access import Person, Rejected, Role
from fedxai.settings import checked
from fedxai.whole_file import whole_file

TOKEN_FILE = "tokens.json"
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}$")]


class Issued(BaseModel):
    """One token, of which only the hash is kept: it has 256 bits of chance, so a plain SHA-256 cannot be searched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="Whose token it is; stands beside what the person draws.")
    role: Role = Field(description="reader, annotator or admin.")
    digest: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the token.")
    until: datetime = Field(description="When it ends.")


class TokenFile:
    """The tokens of one server.

    Args:
        file: where they stand; need not exist.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read: tuple[object, list[Issued]] = (None, [])

    def issue(self, name: str, role: str, *, days: int) -> str:
        """A new token for a person, whose earlier tokens end.

        Raises:
            SettingsError: when the name or role breaks its rule, or the file cannot be read.
        """
        token = secrets.token_urlsafe(32)
        until = datetime.now(timezone.utc) + timedelta(days=days)
        entry = checked(
            Issued, {"name": name, "role": role, "digest": digest(token), "until": until}, what="fedxai label token"
        )
        with self._lock():
            self._write([*(one for one in self.issued() if one.name != entry.name), entry])
        return token

    def revoke(self, name: str) -> None:
        """End a person's token.

        Raises:
            SettingsError: when nobody of that name has one.
        """
        with self._lock():
            issued = self.issued()
            if name not in [one.name for one in issued]:
                raise SettingsError(f"no token was issued for {name!r}; `fedxai label token --list` shows whose are")
            self._write([one for one in issued if one.name != name])

    def issued(self) -> list[Issued]:
        """All tokens; read again whenever the file has changed, so that a revoked one ends at once.

        Raises:
            SettingsError: when the file is not what `fedxai label token` wrote.
        """
        try:
            stamp = self._file.stat()
        except FileNotFoundError:
            return []
        seen = (stamp.st_mtime_ns, stamp.st_ino, stamp.st_size)
        if seen != self._read[0]:
            try:
                entries = [Issued(**one) for one in json.loads(self._file.read_text(encoding="utf-8"))]
            except (OSError, ValueError, TypeError, ValidationError) as error:
                raise SettingsError(
                    f"{self._file.name} of the server cannot be read; remove it and issue the tokens again"
                ) from error
            self._read = (seen, entries)
        return self._read[1]

    def person(self, token: str) -> Person:
        """Whose token it is.

        Raises:
            Rejected: when it was never issued, was revoked, or has ended.
        """
        wanted = digest(token)
        for one in self.issued():
            if secrets.compare_digest(one.digest, wanted) and one.until > datetime.now(timezone.utc):
                return Person(name=one.name, role=one.role)
        raise Rejected

    def _lock(self) -> FileLock:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return FileLock(self._file.with_suffix(".lock"))

    def _write(self, issued: list[Issued]) -> None:
        with whole_file(self._file) as unfinished:
            unfinished.unlink(missing_ok=True)
            unfinished.touch(mode=0o600, exist_ok=False)
            unfinished.write_text(json.dumps([one.model_dump(mode="json") for one in issued], indent=2), "utf-8")


def digest(token: str) -> str:
    """SHA-256 of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
