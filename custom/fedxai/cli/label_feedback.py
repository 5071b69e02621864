# SPDX-License-Identifier: Apache-2.0
"""The `fedxai label` commands about what readers said: into the cohort, how much they agree, what it changed."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

STUDIES = Annotated[
    Path,
    typer.Argument(metavar="STUDIES", help="Folder that was served; of DICOM series, 'archive' in the server's state."),
]
ALLOW = Annotated[
    bool, typer.Option("--allow-burned-in", help="Take DICOM pictures that may have text burnt in; look at them first.")
]


class RuleName(str, Enum):
    """How the regions of several readers become one."""

    majority = "majority"
    union = "union"
    intersection = "intersection"


def register(app: typer.Typer) -> None:
    """Add the commands to ``fedxai label``."""
    app.command()(export)
    app.command()(readers)
    app.command()(change)


def export(
    studies: STUDIES,
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="The cohort that the images are of.")],
    rule: Annotated[RuleName, typer.Option(help="How several readers' regions become one.")] = RuleName.majority,
    dicomweb: Annotated[
        str | None,
        typer.Option(help="URL of the archive, or the folder of DICOM series: what other workstations drew too."),
    ] = None,
    allow_burned_in: ALLOW = False,
) -> None:
    """Make what readers drew the cohort's regions, and what they corrected its labels, for the next round.

    Example: `fedxai label export STUDIES cohorts/site-1`
    """
    from fedxai.label.archive import open_archive
    from fedxai.label.export import export as exported
    from fedxai.label.shims import check_installed

    if dicomweb:
        check_installed()
    archive = open_archive(dicomweb, allow_burned_in=allow_burned_in) if dicomweb else None
    done = exported(studies, cohort, rule=rule.value, archive=archive)
    typer.echo(
        f"{done.images} images with feedback: {done.regions} regions, {done.labels} corrected labels in "
        f"{cohort.name}; {done.differing} with readers who differ on the class, {done.unknown} not in the cohort"
    )


def readers(studies: STUDIES) -> None:
    """Show how much the readers of a site agree: Dice and kappa of what they drew, kappa of classes and ratings.

    Example: `fedxai label readers STUDIES`
    """
    from fedxai.errors import CohortError
    from fedxai.label.feedback import FOLDER, Feedback
    from fedxai.label.readers import agreement

    feedback = Feedback(studies / FOLDER)
    if not feedback.images():
        raise CohortError(f"There is no feedback in {studies.name!r}: nobody has saved a region or a rating there.")
    found = agreement(feedback)
    typer.echo(f"{found.readers} readers, {found.images} images with two or more")
    for name in ("dice", "kappa_region", "kappa_label", "kappa_agreement"):
        figure = getattr(found, name)
        value = "-" if figure.value is None else f"{figure.value:.3f}"
        typer.echo(f"{name}: {value} (n = {figure.n})")


def change(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="Folder of the run before.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="Folder of the run after.")],
) -> None:
    """Show how E and accuracy changed from one run to another, over all sites and site by site.

    Example: `fedxai label change RUN_BEFORE RUN_AFTER`
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from fedxai.label.change import changes, read_run

    table = Table("where", "figure", "before", "after", "change", "n", box=SIMPLE_HEAD)
    for row in changes(read_run(before), read_run(after)):
        numbers = [_number(row.before.value), _number(row.after.value), _number(row.difference, sign="+")]
        table.add_row(row.where, row.figure, *numbers, str(row.after.n))
    Console().print(table)


def _number(value: float | None, *, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f}"
