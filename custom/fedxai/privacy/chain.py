# SPDX-License-Identifier: Apache-2.0
"""The hash chain under a ledger: an entry, its line on disk, and the hash that ties it to all before it."""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from fedxai.errors import LedgerError
from fedxai.records import Count, Digest, Name, Record

GENESIS = "0" * 64  # what stands for the hash before the first entry
TORN = "torn"  # kind of the entry that vouches for what a crash left of the line before it
LONGEST_LINE = 4096
_SEAL = ',"hash":"%s"}\n'
_SEAL_LENGTH = len(_SEAL % GENESIS)

Decision = Literal["released", "refused", "received"]
ShortDigest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{0,64}$")]


class Head(Record):
    """Where a ledger stands: its number of entries and the hash of the last, which vouches for all of them."""

    count: Count
    hash: Digest


class Entry(Record):
    """One message that left, was refused, or (in the server's ledger) arrived."""

    n: Annotated[int, Field(ge=1)]  # 1, 2, 3, ...
    time: str  # ISO 8601, UTC
    job: Name | None = None
    round: int | None = None  # None: belongs to no round
    task: Name | None = None
    kind: Name  # update, evaluation, explanation, survey ...; `torn` after a crash
    channel: Name | None = None
    bytes: Count
    digest: ShortDigest = ""  # SHA-256 of what was sent; empty: nothing was
    decision: Decision
    reason: Name | None = None  # class of the refusal
    policy: ShortDigest = ""  # of the policy that decided
    case_records: Count = 0
    site: Name | None = None  # server's ledger only: who sent it
    head: Head | None = None  # where the other side's ledger stood, as its message told


def canonical(entry: Entry) -> bytes:
    """The entry as JSON with sorted keys, without blanks and without what is not set: one entry, one spelling."""
    values = entry.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode("ascii")


def seal(previous: str, body: bytes) -> str:
    """``SHA-256(previous hash + canonical JSON)``, in hexadecimal digits."""
    return hashlib.sha256(previous.encode("ascii") + body).hexdigest()


def line_of(entry: Entry, previous: str) -> tuple[bytes, str]:
    """The entry's line on disk, which is its canonical JSON with the hash as the last member; and the hash."""
    body = canonical(entry)
    found = seal(previous, body)
    return body[:-1] + (_SEAL % found).encode("ascii"), found


def follows(line: bytes, previous: str) -> str | None:
    """The line's hash when it seals the line after ``previous``, else None. This is all that verifying costs."""
    found = seal(previous, line[:-_SEAL_LENGTH] + b"}")
    return found if line.endswith((_SEAL % found).encode("ascii")) else None


def read_line(line: bytes) -> tuple[Entry, str]:
    """An entry and the hash its line states, unchecked.

    Raises:
        LedgerError: when the line is no entry as this package writes it.
    """
    try:
        values = json.loads(line)
        stated = Head(count=0, hash=values.pop("hash")).hash
        entry = Entry.model_validate(values)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ValidationError) as error:
        raise LedgerError("the line is no ledger entry") from error
    if line != canonical(entry)[:-1] + (_SEAL % stated).encode("ascii"):
        raise LedgerError("the line is not spelled as ledger entries are")
    return entry, stated


def vouches_for(entry: Entry, fragment: bytes) -> bool:
    """Whether the entry was written to say that ``fragment`` is what a crash left."""
    return entry.kind == TORN and (entry.bytes, entry.digest) == (len(fragment), hashlib.sha256(fragment).hexdigest())
