# SPDX-License-Identifier: Apache-2.0
"""The `fedxai deploy` commands: startup kits with this project's policy, and a whole deployment on one machine."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Make startup kits; run a whole deployment on one machine.")

Deployment = Annotated[Path, typer.Argument(help="Folder that `fedxai deploy init` made.")]


@app.command()
def init(
    out: Annotated[Path, typer.Option(help="New folder; it keeps the root key, so it stays with the project admin.")],
    project: Annotated[Path, typer.Option(help="FLARE's description of the project.")] = Path(
        "poc_workspace/project.yml"
    ),
    port: Annotated[
        int | None, typer.Option(min=1024, max=65534, help="The server's port; the admin port is the next one.")
    ] = None,
    phantom: Annotated[bool, typer.Option("--phantom", help="Give every site a phantom cohort of its own.")] = False,
) -> None:
    """Make the startup kits of server, sites and people with FLARE's provisioner and this project's site policy.

    Example: `fedxai deploy init --project poc_workspace/project.yml --phantom --out poc_workspace/workspace`
    """
    from fedxai.flare.deploy import settle
    from fedxai.flare.provision import provision

    folder = provision(project, out, port=port)
    if phantom:
        settle(out)
    typer.echo(f"startup kits: {folder}")


@app.command()
def kits(deployment: Deployment) -> None:
    """List the startup kits: whose they are, in which role, and until when their certificate holds.

    Example: `fedxai deploy kits poc_workspace/workspace`
    """
    from rich.console import Console
    from rich.table import Table

    from fedxai.flare import kit as startup

    table = Table("kit", "for", "role", "certificate until")
    for kit in startup.kits(deployment):
        table.add_row(kit.name, kit.kind, kit.role or "", f"{kit.valid_until:%Y-%m-%d}")
    Console().print(table)


@app.command()
def check(deployment: Deployment) -> None:
    """Run the preflight check of `fedxai doctor` on server and sites.

    Example: `fedxai deploy check poc_workspace/workspace`
    """
    from fedxai.cli.doctor import show
    from fedxai.flare import kit as startup
    from fedxai.flare.doctor import examine

    parts = [kit for kit in startup.kits(deployment) if kit.kind != "person"]
    passed = [show(kit.name, examine(kit)) for kit in parts]
    raise typer.Exit(0 if all(passed) else 1)


@app.command()
def up(
    deployment: Deployment,
    patience: Annotated[float, typer.Option(min=1, help="Seconds to wait until all sites are connected.")] = 120,
) -> None:
    """Start server and sites with FLARE's own scripts and wait until all sites are connected.

    Example: `fedxai deploy up poc_workspace/workspace`
    """
    from fedxai.flare import deploy

    sites = deploy.up(deployment, patience=patience, on_step=lambda line: typer.echo(line, err=True))
    typer.echo(f"connected: {', '.join(sites)}")


@app.command()
def down(
    deployment: Deployment,
    patience: Annotated[float, typer.Option(min=1, help="Seconds to wait for an orderly end.")] = 60,
) -> None:
    """Abort running jobs, shut server and sites down, and leave no process behind.

    Example: `fedxai deploy down poc_workspace/workspace`
    """
    from fedxai.flare import deploy

    ended = deploy.down(deployment, patience=patience, on_step=lambda line: typer.echo(line, err=True))
    typer.echo(f"stopped; ended by force: {', '.join(ended)}" if ended else "stopped")
