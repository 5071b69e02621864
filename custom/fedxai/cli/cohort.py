# SPDX-License-Identifier: Apache-2.0
"""The `fedxai cohort` commands: split, check, show cohorts, or draw the phantom."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedxai.cli.progress import progress_bar
from fedxai.errors import SettingsError

if TYPE_CHECKING:
    from rich.table import Table

    from fedxai.intake.finding import Finding
    from fedxai.intake.overview import Overview

app = typer.Typer(no_args_is_help=True, help="Split, check and show cohorts, or draw the phantom.")


class SplitBy(str, Enum):
    """How simulated hospitals differ."""

    iid = "iid"
    label_skew = "label-skew"
    quantity = "quantity"
    acquisition = "acquisition"
    voxel_type = "voxel-type"


class Drawn(str, Enum):
    """What a phantom is for."""

    slices = "slices"
    classification = "classification"
    segmentation = "segmentation"


@app.command()
def split(
    cohort: Annotated[Path, typer.Argument(help="The cohort to deal out.")],
    out: Annotated[Path, typer.Option(help="The cohorts root to make: a new folder.")],
    sites: Annotated[int, typer.Option(help="How many hospitals.")] = 4,
    by: Annotated[SplitBy, typer.Option(help="How the hospitals differ.")] = SplitBy.iid,
    alpha: Annotated[
        float | None,
        typer.Option(help="Dirichlet parameter, smaller is more unequal [label-skew: 0.3, quantity: 1.0]."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws who goes where; the same seed gives the same.")] = 0,
) -> None:
    """Make simulated hospitals out of one cohort; patients never cross sites or splits.

    Example: `fedxai cohort split brain --sites 4 --by label-skew --alpha 0.3 --out cohorts`
    """
    from fedxai.intake.cohort import Cohort
    from fedxai.intake.split import make_sites

    made = make_sites(Cohort.open(cohort), out, sites=sites, by=by.value, alpha=alpha, seed=seed, track=progress_bar)
    for name, folder in made.items():
        counts = Cohort.open(folder).counts()
        typer.echo(f"{name}: {counts.training} training, {counts.validation} validation, {counts.test} test cases")
    typer.echo(f"Cohorts root: {out.absolute()}")


@app.command()
def check(
    cohorts: Annotated[Path, typer.Argument(help="A cohort, or a root with one cohort per site.")],
    limit: Annotated[int, typer.Option(help="How many findings of one kind to print.")] = 10,
) -> None:
    """Find what would spoil a study; exit code 1 if anything is an error, 0 if there are warnings only.

    Finds images (also encoded again or rescaled) and patients in two splits or at two sites, missing classes,
    masks of the wrong size or empty, unreadable files; each with the file and the remedy.

    Example: `fedxai cohort check cohorts`
    """
    from fedxai.intake.check import check_cohorts

    checked = check_cohorts(cohorts, track=progress_bar)
    for (level, rule), members in _by_rule(checked.findings).items():
        for finding in members[:limit]:
            typer.echo(str(finding))
        if len(members) > limit:
            typer.echo(f"{level.upper()} ... and {len(members) - limit} more of '{rule}'; see --limit.")
    errors = sum(finding.level == "error" for finding in checked.findings)
    typer.echo(
        f"{checked.cohorts} cohorts, {checked.images} images: {errors} errors, "
        f"{len(checked.findings) - errors} warnings."
    )
    if not checked.passed:
        raise typer.Exit(1)


@app.command()
def show(
    cohorts: Annotated[Path, typer.Argument(help="A cohort, or a root with one cohort per site.")],
    out: Annotated[Path, typer.Option(help="The contact sheet to draw.")] = Path("contact_sheet.png"),
) -> None:
    """Print counts, class balance and intensity ranges per site, and draw a contact sheet.

    Example: `fedxai cohort show cohorts --out contact_sheet.png`
    """
    from rich.console import Console

    from fedxai.intake.cohort import Cohort, cohorts_at
    from fedxai.intake.contact_sheet import draw_contact_sheet
    from fedxai.intake.overview import look_over

    opened = {name: Cohort.open(folder) for name, folder in cohorts_at(cohorts).items()}
    Console().print(_table({name: look_over(cohort, track=progress_bar) for name, cohort in opened.items()}))
    typer.echo(f"Contact sheet: {draw_contact_sheet(opened, out)}")


@app.command()
def phantom(
    out: Annotated[Path, typer.Option(help="The cohorts root to make: a new folder.")],
    sites: Annotated[int, typer.Option(help="How many hospitals, each with a virtual scanner of its own.")] = 4,
    task: Annotated[
        Drawn, typer.Option(help="slices: 2D classification; classification, segmentation: of 3D volumes.")
    ] = Drawn.slices,
    cases: Annotated[
        int | None,
        typer.Option(help="Cases per site: slices, two a patient, or volumes [slices: 160, volumes: 80]."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws everything; the same seed gives the same bytes.")] = 0,
    shortcut: Annotated[
        bool, typer.Option("--shortcut", help="Let marks at the border tell the label, and the lesion nothing.")
    ] = False,
    shuffle_labels: Annotated[
        bool, typer.Option("--shuffle-labels", help="Give the labels out at random: nothing to learn.")
    ] = False,
) -> None:
    """Draw synthetic cohorts whose only evidence of a class lies inside a known region.

    Example: `fedxai cohort phantom --sites 4 --task classification --out cohorts`
    """
    if task is Drawn.slices:
        from fedxai.intake.phantom import make_phantom_sites

        cases = 160 if cases is None else cases
        planted: Any = {"shortcut": shortcut, "shuffle_labels": shuffle_labels}
        made = make_phantom_sites(out, sites=sites, cases=cases, seed=seed, **planted, track=progress_bar)
    elif shortcut or shuffle_labels:
        raise SettingsError(f"--shortcut and --shuffle-labels go with --task slices, got --task {task.value}.")
    else:
        from fedxai.intake.phantom_3d import make_phantom_3d_sites

        cases = 80 if cases is None else cases
        made = make_phantom_3d_sites(out, task=task.value, sites=sites, cases=cases, seed=seed, track=progress_bar)
    typer.echo(f"Cohorts root: {out.absolute()} ({', '.join(made)}; {cases} cases each)")


def _by_rule(findings: "list[Finding]") -> "dict[tuple[str, str], list[Finding]]":
    grouped: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        grouped.setdefault((finding.level, finding.rule), []).append(finding)
    return grouped


def _table(overviews: "dict[str, Overview]") -> "Table":
    from rich.table import Table

    table = Table(caption="Level: mean 5th percentile, mean and 95th percentile; of images in percent of full range.")
    table.add_column("Site", no_wrap=True)
    for title in ("Train\nVal\nTest", "Patients\nRegions"):
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("Classes", "Size", "Level"):
        table.add_column(title, no_wrap=title == "Level")
    for name, view in overviews.items():
        table.add_row(
            name,
            f"{view.counts.training}\n{view.counts.validation}\n{view.counts.test}",
            f"{view.patients}\n{view.regions}",
            "\n".join(f"{label} {count}" for label, count in view.classes.items()),
            "\n".join(
                ([f"{view.sizes} of {view.spacing} mm".replace(" to ", "\nto ")] if view.spacing else [view.sizes])
                + ([f"{view.unreadable} unreadable"] if view.unreadable else [])
            ),
            " ".join(f"{level:.3g}" if view.spacing else f"{level:.0%}" for level in (view.low, view.mean, view.high)),
            end_section=True,
        )
    return table
