# SPDX-License-Identifier: Apache-2.0
"""A site's ledger against the server's: what one has and the other has not."""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fedxai.errors import LedgerError
from fedxai.privacy.audit import Audit, verify
from fedxai.privacy.chain import Entry, Head
from fedxai.privacy.ledger import Ledger

_Message = tuple[str, str, str, int, str]  # job, task, round, bytes, digest


@dataclass(kw_only=True)
class LedgerComparison:
    """What two ledgers that tell of the same messages do not tell alike."""

    site: str
    site_audit: Audit
    server_audit: Audit
    heads: int  # how many places of the site's ledger the server knows
    told: int  # and of the server's the site
    agreed: int  # messages that both tell of
    differences: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Both are intact and tell of the same messages."""
        return self.site_audit.intact and self.server_audit.intact and not self.differences


def compare(site_ledger: Path, server_ledger: Path, *, site: str | None = None) -> LedgerComparison:
    """Hold each ledger against the heads of it that the other has kept, and the messages of both.

    Args:
        site_ledger: the ledger of one site.
        server_ledger: the server's ledger, of all sites.
        site: the site's name; may be left out where the server's ledger knows only one.

    Returns:
        The differences, a sentence each; messages are matched by job, task, round, bytes and digest.

    Raises:
        LedgerError: when a file is missing or the server's ledger does not know the site.
    """
    recorded = _readable(site_ledger)
    told = _heads(recorded)
    server_audit = verify(server_ledger, known=told)
    arrived = _of_site(_readable(server_ledger), site)
    name = arrived[0].site or "?"
    heads = _heads(arrived)
    site_audit = verify(site_ledger, known=heads)
    jobs = {entry.job for entry in arrived}
    sent = [
        entry for entry in recorded if entry.decision == "released" and entry.task is not None and entry.job in jobs
    ]
    left, came = Counter(map(_message, sent)), Counter(map(_message, arrived))
    differences = _differences(left - came, "left the site and did not arrive")
    differences += _differences(came - left, "arrived and is not in the site's ledger")
    return LedgerComparison(
        site=name,
        site_audit=site_audit,
        server_audit=server_audit,
        heads=len(heads),
        told=len(told),
        agreed=(left & came).total(),
        differences=differences,
    )


def _of_site(entries: Iterable[Entry], site: str | None) -> list[Entry]:
    """The entries of that site, or of the only one."""
    listed = [entry for entry in entries if entry.site is not None]
    names = sorted({entry.site for entry in listed if entry.site is not None})
    if (site is None and len(names) != 1) or (site is not None and site not in names):
        raise LedgerError(
            f"--site must name a site of the server's ledger, got {site!r}; it has {', '.join(names) or 'none'}"
        )
    return [entry for entry in listed if site in (None, entry.site)]


def _heads(entries: Iterable[Entry]) -> list[Head]:
    """Places of the other side's ledger, as its messages told them."""
    return [entry.head for entry in entries if entry.head is not None]


def _readable(path: Path) -> list[Entry]:
    """The entries up to the first damaged line, if there is one: the audit says what is wrong from there on."""
    entries: list[Entry] = []
    with suppress(LedgerError):
        entries.extend(Ledger(path).entries())
    return entries


def _message(entry: Entry) -> _Message:
    return str(entry.job), str(entry.task), str(entry.round), entry.bytes, entry.digest


def _differences(messages: Counter[_Message], what: str) -> list[str]:
    return [
        f"an answer to {task} (job {job}, round {round_}, {size} bytes, digest {digest[:12]}) {what}{times}"
        for (job, task, round_, size, digest), count in sorted(messages.items())
        for times in [f", {count} times" if count > 1 else ""]
    ]
