# SPDX-License-Identifier: Apache-2.0
"""The `fedxai bundle` commands: read a bundle before it runs, approve it, and bring one here."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fedxai.bundle.inspection import Inspection

app = typer.Typer(no_args_is_help=True, help="Read, approve and fetch MONAI bundles.")

Folder = Annotated[Path, typer.Argument(help="The bundle's folder, or the name of a known bundle.")]
Site = Annotated[
    Path | None,
    typer.Option(help="The site's local/ folder, whose list of approved bundles counts there."),
]


@app.command()
def check(
    bundle: Folder,
    everything: Annotated[
        bool, typer.Option("--all", help="Also list what is harmless and does not run here.")
    ] = False,
) -> None:
    """Say what a bundle holds, what is missing, and what of it would run; nothing is executed.

    Example: `fedxai bundle check spleen_ct_segmentation`
    """
    from fedxai.cli.bundle_tables import show_inspection

    inspection = _inspection(bundle)
    show_inspection(inspection, everything=everything)
    if inspection.refusal:
        typer.echo(f"fedxai: {inspection.refusal}", err=True)
        raise typer.Exit(1)


@app.command()
def approve(bundle: Folder, site: Site = None) -> None:
    """Let a bundle run: at a site (`--site`), or in the simulator on this machine.

    The check comes first, and what it refuses cannot be approved. Any later change of a file ends the approval.

    Example: `fedxai bundle approve spleen_ct_segmentation --site startup/hospital-1/local`
    """
    from fedxai.bundle.approval import approve as approve_bundle
    from fedxai.bundle.approval import list_for
    from fedxai.errors import SettingsError

    inspection = _inspection(bundle)
    if site is not None and not site.is_dir():
        raise SettingsError(f"--site must name a site's local/ folder, got {site.name!r}, which is none")
    file = list_for(inspection, site)
    approval = approve_bundle(inspection, file)
    typer.echo(f"{approval.name} {approval.version} may run: digest {approval.digest[:12]}, listed in {file.name}.")
    if inspection.missing:
        typer.echo(f"Note: it still lacks {', '.join(inspection.missing)}.")


@app.command("list")
def list_bundles(site: Site = None) -> None:
    """List the known bundles, and which of them may run.

    Example: `fedxai bundle list --site startup/hospital-1/local`
    """
    from fedxai.bundle import bundle_roots
    from fedxai.cli.bundle_tables import show_bundles

    folders = [configs.parent for root in bundle_roots() for configs in sorted(root.glob("*/configs"))]
    show_bundles(folders, site)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="The bundle's name in the source.")],
    out: Annotated[Path, typer.Option(help="Folder of bundles to put it in.")] = Path("."),
    bundle_version: Annotated[str | None, typer.Option("--version", help="The version; default: the latest.")] = None,
    source: Annotated[str, typer.Option(help="monaihosting, github, ngc or huggingface_hub.")] = "monaihosting",
    url: Annotated[str | None, typer.Option(help="An archive (ZIP) instead of a source.")] = None,
    sha256: Annotated[str | None, typer.Option(help="Checksum of the archive; another is refused.")] = None,
) -> None:
    """Download a bundle with MONAI's own download and check it; it may run only after `fedxai bundle approve`.

    Example: `fedxai bundle fetch spleen_ct_segmentation --source github --version 0.5.9 --out bundles`
    """
    from fedxai.bundle.fetch import fetch as fetch_bundle
    from fedxai.bundle.inspection import Inspection

    folder = fetch_bundle(name, out, version=bundle_version, source=source, url=url, checksum=sha256)
    inspection = Inspection(folder)
    typer.echo(f"{folder}: digest {inspection.digest[:12]}.")
    typer.echo(inspection.refusal or "Nothing in it is refused; `fedxai bundle check` shows what would run.")


def _inspection(bundle: Path) -> "Inspection":
    """The bundle in that folder or of that name, read and not run."""
    from fedxai.bundle import bundle_folder
    from fedxai.bundle.inspection import Inspection

    return Inspection(bundle_folder(bundle))
