# SPDX-License-Identifier: Apache-2.0
"""The `fedxai doctor` command."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fedxai.preflight import Finding


def doctor(
    kit: Annotated[Path | None, typer.Argument(help="Startup kit of a site, server or person; none: this machine.")] = (
        None
    ),
) -> None:
    """Preflight: everything green, or one remedy for each thing that is not; exit code 1 when something is not.

    Example: `fedxai doctor KITS/site-1`
    """
    from fedxai.flare.doctor import examine
    from fedxai.flare.kit import Kit

    opened = Kit.open(kit) if kit else None
    passed = show(opened.name if opened else "this machine", examine(opened))
    raise typer.Exit(0 if passed else 1)


def show(title: str, findings: "Sequence[Finding]") -> bool:
    """Print the findings as a table; whether all are green."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table("", "check", "found", "remedy", title=title, title_justify="left", box=SIMPLE_HEAD)
    for finding in findings:
        mark = "[green]ok[/green]" if finding.passed else "[red]no[/red]"
        table.add_row(mark, finding.check, finding.found, finding.remedy)
    Console().print(table)
    return all(finding.passed for finding in findings)
