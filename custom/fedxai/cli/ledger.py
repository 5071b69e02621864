# SPDX-License-Identifier: Apache-2.0
"""The `fedxai ledger` commands: read, verify, export and compare the record of what left."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from fedxai.privacy.audit import Audit
    from fedxai.privacy.chain import Entry, Head

app = typer.Typer(no_args_is_help=True, help="Read and verify the record of everything that left a site.")

LEDGER = Annotated[Path, typer.Argument(help="A ledger file, for instance ledger.jsonl of a site.")]


class Format(str, Enum):
    """What an export is written as."""

    csv = "csv"
    json = "json"


@app.command()
def show(
    ledger: LEDGER,
    last: Annotated[int, typer.Option(min=1, help="How many of the newest entries.")] = 20,
    job: Annotated[str | None, typer.Option(help="Only this job's entries.")] = None,
) -> None:
    """Show the newest entries, and what left so far by kind.

    Example: `fedxai ledger show ledger.jsonl --last 50`
    """
    from collections import deque

    from rich.console import Console

    from fedxai.privacy.ledger import Ledger

    book = Ledger(_existing(ledger))
    newest = deque((entry for entry in book.entries() if job in (None, entry.job)), maxlen=last)
    console = Console(width=None if Console().is_terminal else 160)
    console.print(_entries_table(newest))
    for part in book.totals(job):
        typer.echo(f"{part.kind}: {part.messages} messages, {part.bytes} bytes, {part.case_records} case records")


@app.command()
def verify(
    ledger: LEDGER,
    head: Annotated[
        list[str] | None, typer.Option(help="A place it is known to have had, as COUNT:HASH; repeat for several.")
    ] = None,
) -> None:
    """Follow the hash chain: find any changed, removed, added, reordered or cut-off entry. Exit code 1 if there is one.

    Example: `fedxai ledger verify ledger.jsonl`
    """
    from fedxai.privacy.audit import verify as audit_of

    audit = audit_of(ledger, known=[_head(text) for text in head or []])
    _tell(audit)
    if not audit.intact:
        raise typer.Exit(1)


@app.command()
def export(
    ledger: LEDGER,
    format_: Annotated[Format, typer.Option("--format", help="csv or json.")] = Format.csv,
    out: Annotated[Path | None, typer.Option(help="File to write; default: standard output.")] = None,
) -> None:
    """Write all entries as a table for other programs; the ledger itself stays the evidence.

    Example: `fedxai ledger export ledger.jsonl --format csv --out ledger.csv`
    """
    from fedxai.privacy.export import as_csv, as_json
    from fedxai.report.files import write_files

    text = (as_csv if format_ is Format.csv else as_json)(_existing(ledger))
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_files(out.resolve().parent, {out.name: text.encode()})


@app.command()
def compare(
    site_ledger: Annotated[Path, typer.Argument(help="The site's ledger.")],
    server_ledger: Annotated[Path, typer.Argument(help="The server's ledger.")],
    site: Annotated[str | None, typer.Option(help="The site's name, where the server knows several.")] = None,
) -> None:
    """Hold a site's ledger against what the server kept of it: a past written anew is found. Exit code 1 if so.

    Example: `fedxai ledger compare site-1/ledger.jsonl server/ledger.jsonl --site site-1`
    """
    from fedxai.privacy.compare import compare as comparison_of

    found = comparison_of(site_ledger, server_ledger, site=site)
    for whose, audit in ((found.site, found.site_audit), ("server", found.server_audit)):
        typer.echo(f"{whose}: ", nl=False)
        _tell(audit)
    for difference in found.differences:
        typer.echo(f"Different: {difference}")
    typer.echo(
        f"{found.agreed} messages stand in both; the server knows {found.heads} places of {found.site}'s ledger, "
        f"and {found.site} {found.told} of the server's."
    )
    if not found.agrees:
        raise typer.Exit(1)


def _tell(audit: "Audit") -> None:
    verdict = "intact" if audit.intact else "NOT INTACT"
    typer.echo(f"{verdict}, {audit.head.count} entries, head {audit.head.count}:{audit.head.hash}")
    for finding in audit.findings:
        typer.echo(f"Found: {finding}")
    for note in audit.notes:
        typer.echo(f"Note: {note}")


def _existing(ledger: Path) -> Path:
    from fedxai.errors import LedgerError

    if not ledger.is_file():
        raise LedgerError(f"LEDGER must be a ledger file, got {ledger.name!r}, which is none")
    return ledger


def _entries_table(entries: "Iterable[Entry]") -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("n", "time", "round", "task", "kind", "channel", "bytes", "digest", "decision", "reason", "site"):
        table.add_column(column, justify="right" if column in ("n", "round", "bytes") else "left", no_wrap=True)
    for entry in entries:
        shown = (entry.n, entry.time[:19], entry.round, entry.task, entry.kind, entry.channel, entry.bytes)
        cells = (*shown, entry.digest[:12], entry.decision, entry.reason, entry.site)
        table.add_row(*("" if cell is None else str(cell) for cell in cells))
    return table


def _head(text: str) -> "Head":
    from fedxai.errors import SettingsError
    from fedxai.privacy.chain import Head
    from fedxai.settings import checked

    count, _, found = text.partition(":")
    if not count.isdigit():
        raise SettingsError(f"--head must be COUNT:HASH, got {text!r}")
    return checked(Head, {"count": int(count), "hash": found}, what="--head")
