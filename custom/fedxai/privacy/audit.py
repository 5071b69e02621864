# SPDX-License-Identifier: Apache-2.0
"""Verify a ledger: every changed, removed, added, reordered or cut-off entry is found and named."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedxai.errors import LedgerError
from fedxai.privacy.chain import GENESIS, TORN, Entry, Head, canonical, follows, read_line, seal, vouches_for

_TORN = f'"kind":"{TORN}"'.encode()
_MOST = 100  # findings that are listed; one is enough to distrust a ledger


@dataclass(kw_only=True)
class Audit:
    """What verifying found: where the ledger stands, what is wrong, and what a reader should know."""

    head: Head
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Nothing was changed, as far as the chain and the known heads reach."""
        return not self.findings


def verify(path: Path, *, known: Iterable[Head] = ()) -> Audit:
    """Follow the chain from the first entry to the last.

    The chain alone shows every change but one: whoever owns the file can cut its end off, or write it anew from some
    entry on with new hashes. Heads that were given away before (to the server, to an auditor) show that too.

    Args:
        path: the ledger.
        known: heads that this ledger is known to have had.

    Returns:
        What was found; entries are named by their number, lines of the file by theirs.

    Raises:
        LedgerError: when there is no such file.
    """
    if not path.is_file():
        raise LedgerError(f"LEDGER must be a ledger file, got {path.name!r}, which is none")
    heads = {head.count: head.hash for head in known if head.count}
    audit = _fast(path, heads)
    if audit is None:
        audit = _slow(path, heads)
    for count in sorted(heads):
        if count > audit.head.count:
            audit.findings.append(f"entries {audit.head.count + 1} to {max(heads)} are cut off at the end")
            break
    return audit


def _fast(path: Path, heads: Mapping[int, str]) -> Audit | None:
    """The audit of a ledger in which everything follows; None where something has to be looked into."""
    previous, count, notes = GENESIS, 0, []
    fragment: bytes | None = None
    with path.open("rb") as file:
        for line in file:
            found = follows(line, previous)
            if found is None:
                if fragment is not None or not line.endswith(b"\n"):
                    return None
                fragment = line[:-1]
                continue
            count += 1
            previous = found
            if count in heads and heads[count] != found:
                return None
            if fragment is not None or _TORN in line:
                entry, _ = read_line(line)
                if fragment is None or not vouches_for(entry, fragment):
                    return None
                notes.append(_note(count, entry))
                fragment = None
    if fragment is not None:
        return None
    return Audit(head=Head(count=count, hash=previous), notes=notes)


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A line of the file that is spelled as entries are, and where it stands."""

    number: int
    entry: Entry
    stated: str


def _slow(path: Path, heads: Mapping[int, str]) -> Audit:
    """Name what does not follow."""
    findings: list[str] = []
    notes: list[str] = []
    lines = _read(path, findings, notes)
    hashes = {0: GENESIS} | {line.entry.n: line.stated for line in lines}
    findings += _changed(lines, hashes) + _misplaced(lines)
    for count, known in sorted(heads.items()):
        if count in hashes and hashes[count] != known:
            findings.append(f"entry {count} or one before it was written anew: its hash was known to be another")
            break
    last = max(hashes)
    if len(findings) > _MOST:
        findings[_MOST:] = [f"and {len(findings) - _MOST} more"]
    return Audit(head=Head(count=last, hash=hashes[last]), findings=findings, notes=notes)


def _read(path: Path, findings: list[str], notes: list[str]) -> list[_Line]:
    """The readable lines; unreadable ones are findings unless the entry after them vouches for them."""
    lines: list[_Line] = []
    fragment: bytes | None = None
    number = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                entry, stated = read_line(raw)
            except LedgerError:
                if fragment is not None:
                    findings.append(f"line {number - 1} was changed: it is no entry")
                fragment = raw
                continue
            vouched = fragment is not None and vouches_for(entry, fragment[:-1])
            if vouched:
                notes.append(_note(entry.n, entry))
            elif fragment is not None:
                findings.append(f"line {number - 1} was changed: it is no entry")
            if entry.kind == TORN and not vouched:
                findings.append(f"what entry {entry.n} vouches for (a torn line) was changed or removed before it")
            fragment = None
            lines.append(_Line(number=number, entry=entry, stated=stated))
    if fragment is not None:
        whole = fragment.endswith(b"\n")
        torn = "is torn: a crash, or it was cut off; the next entry will vouch for it"
        findings.append(f"line {number} {'was changed: it is no entry' if whole else torn}")
    return lines


def _changed(lines: list[_Line], hashes: Mapping[int, str]) -> list[str]:
    """Entries whose hash is not that of the entry before and of what they say."""
    return [
        f"entry {line.entry.n} (line {line.number}) was changed"
        for line in lines
        if (before := hashes.get(line.entry.n - 1)) is not None and seal(before, canonical(line.entry)) != line.stated
    ]


def _misplaced(lines: list[_Line]) -> list[str]:
    """Entries that are missing, there twice, or out of order."""
    findings: list[str] = []
    seen: set[int] = set()
    highest = 0
    for line in lines:
        n = line.entry.n
        if n in seen:
            findings.append(f"entry {n} stands there twice (line {line.number})")
        elif n < highest:
            findings.append(f"entry {n} is out of order (line {line.number})")
        seen.add(n)
        highest = max(highest, n)
    missing = [n for n in range(1, highest) if n not in seen] if len(seen) < highest else []
    return findings + [f"entry {n} was removed or made unreadable" for n in missing[: _MOST + 1]]


def _note(number: int, entry: Entry) -> str:
    left = f"before entry {number} a crash left {entry.bytes} bytes of a line"
    return f"{left}; they are kept, and entry {number} vouches for them"
