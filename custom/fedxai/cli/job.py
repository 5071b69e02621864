# SPDX-License-Identifier: Apache-2.0
"""The `fedxai job` commands."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Prepare jobs for a real deployment.")


@app.callback()
def _jobs() -> None:
    """Keeps ``pack`` a command of its own."""


@app.command()
def pack(
    job: Annotated[Path, typer.Argument(help="FLARE job folder, for instance jobs/fedxai.")],
    out: Annotated[Path, typer.Option(help="The packed job: a new folder, for instance in the lead's transfer/.")],
    site: Annotated[list[str] | None, typer.Option(help="Who takes part (repeat); default: all sites.")] = None,
    bundle: Annotated[str | None, typer.Option(help="MONAI bundle, by name; default: the job's own.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Federated rounds; default: the job's own.")] = None,
    local_epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over a site's cases in a round; default: the job's own.")
    ] = None,
    explain_every: Annotated[
        int | None, typer.Option(min=0, help="Explain after every so many rounds; 0: only the final models.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of weights, shuffling and augmentation; default: the job's own.")
    ] = None,
) -> None:
    """Write the form of a job that real sites take: configuration only, signed by FLARE when it is submitted.

    Example: `fedxai job pack jobs/fedxai --rounds 10 --out KITS/lead@consortium.org/transfer/brain`
    """
    from fedxai.flare.pack import pack_job

    settings = {"bundle": bundle, "num_rounds": rounds, "explain_every": explain_every, "seed": seed}
    train = {"local_epochs": local_epochs, "seed": seed}
    packed = pack_job(
        job,
        out,
        sites=site or (),
        settings={name: value for name, value in settings.items() if value is not None},
        train={name: value for name, value in train.items() if value is not None},
    )
    typer.echo(f"packed: {packed}; submit it in the admin console with: submit_job {packed.name}")
