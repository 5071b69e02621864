# SPDX-License-Identifier: Apache-2.0
"""The `fedxai watch` command."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from fedxai.flare.watch import Progress


def watch(
    kit: Annotated[Path, typer.Option(help="Your own startup kit, as a person of the federation.")],
    job: Annotated[str | None, typer.Argument(help="Id of the job; default: the one submitted last.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Submit the interrupted job again first; it goes on where it stood.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
) -> None:
    """Follow a job of a real deployment in a live table until it ends; exit code 1 when it did not complete.

    Example: `fedxai watch --kit KITS/lead@consortium.org`
    """
    from rich.console import Console
    from rich.live import Live

    from fedxai.errors import RunError
    from fedxai.flare.deploy import session
    from fedxai.flare.kit import Kit
    from fedxai.flare.watch import again, follow, newest_job

    seen = None
    with session(Kit.open(kit)) as opened, Live(console=Console(), auto_refresh=False) as live:
        job = job or newest_job(opened)
        for seen in follow(opened, again(opened, job) if resume else job, every=every):
            live.update(_table(seen), refresh=True)
    if seen is not None and not seen.completed:
        raise RunError(f"job {seen.job} ended as {seen.status}{': ' if seen.reasons else ''}{'; '.join(seen.reasons)}")


def _table(seen: "Progress") -> "Table":
    from rich.table import Table

    table = Table("job", "status", "round", "at work", title=seen.name)
    round_ = f"{seen.round} of {seen.rounds}" if seen.rounds else ""
    table.add_row(seen.job, seen.status, round_, ", ".join(f"{site}: {task}" for site, task in seen.busy.items()))
    return table
