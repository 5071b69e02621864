# SPDX-License-Identifier: Apache-2.0
"""A record of everything that left or was refused, hash-chained, which nobody can quietly change; and Eq. 6 of it."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout
from pydantic import ValidationError

from fedxai.errors import LedgerError
from fedxai.privacy.chain import (
    GENESIS,
    LONGEST_LINE,
    TORN,
    Decision,
    Entry,
    Head,
    follows,
    line_of,
    read_line,
    vouches_for,
)
from fedxai.records import Holding, Outgoing, PrivacyScore

_PATIENCE = 30  # seconds to wait for another process that is writing an entry


class Ledger:
    """An append-only file, one entry a line, on the disk before what it tells of is sent.

    Each line is JSON with the entry's fields and ``hash = SHA-256(hash of the line before + the entry)``
    (`fedxai.privacy.chain`). Several processes may write one ledger. What a crash left of a line stays where it is,
    and the next entry vouches for it. A ledger that cannot be written raises, so that nothing is sent unrecorded.

    Example:
        >>> ledger = Ledger(Path("ledger.jsonl"))  # doctest: +SKIP
        >>> ledger.record(  # doctest: +SKIP
        ...     kind="update", task="train", round_=0, size=4096, digest="ab12", decision="released"
        ... ).count
        1
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def record(  # noqa: PLR0913  (an entry has that many fields, and each is named by the caller)
        self,
        *,
        kind: str,
        size: int,
        job: str | None = None,
        round_: int | None = None,
        task: str | None = None,
        channel: str | None = None,
        digest: str = "",
        decision: Decision = "released",
        reason: str | None = None,
        policy: str = "",
        case_records: int = 0,
        site: str | None = None,
        head: Head | None = None,
    ) -> Head:
        """Append one message and return when it is on the disk; names are cut to 64 harmless characters.

        Args:
            kind: what it is: update, evaluation, explanation, survey ...
            size: bytes.
            job: FLARE's id of the job.
            round_: round, from 0.
            task: the server's task that it answers.
            channel: the way it took.
            digest: SHA-256 of what was sent; empty where nothing was.
            decision: released or refused; in the server's ledger also received.
            reason: class of the refusal.
            policy: digest of the policy that decided.
            case_records: images, maps or rows of single cases in it (Eq. 6).
            site: server's ledger only: who sent it.
            head: where the other side's ledger stood, as its message told.

        Returns:
            Where the ledger stands with this entry.

        Raises:
            LedgerError: when the entry breaks a rule, or cannot be written.
        """
        if (decision == "refused") != (reason is not None):
            raise LedgerError(
                f"reason must be given with decision 'refused' and only then, got {decision} and {reason!r}"
            )
        values = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "kind": _label(kind),
            "bytes": size,
            "round": round_,
            "digest": digest,
            "decision": decision,
            "policy": policy,
            "case_records": case_records,
            "head": head,
        }
        names = {"job": job, "task": task, "channel": channel, "reason": reason, "site": site}
        values |= {name: _label(text) for name, text in names.items() if text is not None}
        with self._locked() as file:
            return self._append(file, values)

    def head(self) -> Head:
        """Where the ledger stands; count 0 when it is empty.

        Raises:
            LedgerError: when its last entry is damaged.
        """
        if not self.path.is_file():
            return Head(count=0, hash=GENESIS)
        with self.path.open("rb") as file:
            return _tail(file)[0]

    def entries(self) -> Iterator[Entry]:
        """All entries in order, unverified; what a crash left of a line is passed over, its entry speaks of it.

        Raises:
            LedgerError: when a line is no entry and no entry vouches for it.
        """
        if not self.path.is_file():
            return
        fragment: bytes | None = None
        number = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    entry, _ = read_line(line)
                except LedgerError:
                    if fragment is not None:
                        raise _damaged(number - 1) from None
                    fragment = line
                    continue
                if fragment is not None and not vouches_for(entry, fragment[:-1]):
                    raise _damaged(number - 1)
                fragment = None
                yield entry
        if fragment is not None and fragment.endswith(b"\n"):
            raise _damaged(number)

    def totals(self, job: str | None = None) -> list[Outgoing]:
        """What left so far (in that job), summed by kind; what was refused did not leave."""
        sums: dict[str, list[int]] = {}
        for entry in self.entries():
            if entry.decision == "refused" or job not in (None, entry.job):
                continue
            total = sums.setdefault(entry.kind, [0, 0, 0])
            total[0] += 1
            total[1] += entry.bytes
            total[2] += entry.case_records
        return [
            Outgoing(kind=kind, messages=messages, bytes=size, case_records=records)
            for kind, (messages, size, records) in sorted(sums.items())
        ]

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """The file, for one process at a time."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_suffix(".lock"), timeout=_PATIENCE):
                new = not self.path.exists()
                with self.path.open("ab+") as file:
                    yield file
                if new:
                    _flush_folder(self.path.parent)
        except Timeout as error:
            raise LedgerError(f"the ledger is held by another process for {_PATIENCE} s, so nothing is sent") from error
        except OSError as error:
            raise LedgerError(f"the ledger cannot be written ({error.strerror}), so nothing is sent") from error

    @staticmethod
    def _append(file: BinaryIO, values: dict[str, object]) -> Head:
        head, fragment = _tail(file)
        text = b""
        if fragment and (whole := follows(fragment + b"\n", head.hash)):
            head, text = Head(count=head.count + 1, hash=whole), b"\n"
        elif fragment:
            torn = {"kind": TORN, "time": values["time"], "bytes": len(fragment), "decision": "refused", "reason": TORN}
            torn["digest"] = hashlib.sha256(fragment).hexdigest()
            head, line = _next(head, torn)
            text = b"\n" + line
        head, line = _next(head, values)
        file.write(text + line)
        file.flush()
        os.fsync(file.fileno())
        return head


def _next(head: Head, values: dict[str, object]) -> tuple[Head, bytes]:
    try:
        entry = Entry.model_validate({"n": head.count + 1, **values})
    except ValidationError as error:
        first = error.errors()[0]
        raise LedgerError(f"ledger entry: {first['loc'][0]} {first['msg'].lower()}, got {first['input']!r}") from error
    line, found = line_of(entry, head.hash)
    return Head(count=entry.n, hash=found), line


def _tail(file: BinaryIO) -> tuple[Head, bytes]:
    """Where the whole lines end, and what stands after the last of them: a torn line, or nothing."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 3 * LONGEST_LINE))
    *lines, fragment = file.read().split(b"\n")
    if not lines:
        return Head(count=0, hash=GENESIS), fragment
    try:
        entry, stated = read_line(lines[-1] + b"\n")
    except LedgerError as error:
        raise LedgerError("the ledger's last entry is damaged; `fedxai ledger verify` says more") from error
    return Head(count=entry.n, hash=stated), fragment


def _damaged(number: int) -> LedgerError:
    return LedgerError(f"line {number} of the ledger is no entry; `fedxai ledger verify` says more")


def _label(text: str) -> str:
    """A name of at most 64 letters, digits, ``_``, ``-`` and ``.``, beginning with a letter or digit."""
    return re.sub(r"[^A-Za-z0-9_.\-]", "_", text).lstrip("_.-")[:64] or "unnamed"


def _flush_folder(folder: Path) -> None:
    """Make a new file's name as lasting as its content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def privacy_score(outgoing: Iterable[Outgoing], holdings: Iterable[Holding]) -> PrivacyScore:
    """Eq. 6 from counts: ``P = 1 - |D_shared| / |D_total|``.

    The sets are counted in case records (an image, map or row of one case), the reading of the paper; beside it
    stand the bytes that left over the bytes held, which can exceed 1 because model updates are sent every round. A case
    that several messages tell of is counted in each, so the score is at least what is stated.

    Args:
        outgoing: what left the sites, by kind.
        holdings: what each site holds.

    Returns:
        The score and its counts; the score is None where nothing is held.
    """
    left, held = list(outgoing), list(holdings)
    records, total = sum(part.case_records for part in left), sum(part.case_records for part in held)
    size, bytes_held = sum(part.bytes for part in left), sum(part.bytes for part in held)
    updates = sum(part.bytes for part in left if part.kind == "update")
    return PrivacyScore(
        case_records_shared=records,
        case_records_total=total,
        score=1 - min(records, total) / total if total else None,
        bytes_shared=size,
        bytes_total=bytes_held,
        bytes_ratio=size / bytes_held if bytes_held else None,
        summary_bytes=size - updates,
        update_bytes=updates,
    )
