# SPDX-License-Identifier: Apache-2.0
"""The `fedxai cohort` commands: split, check, show cohorts, or draw the phantom."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from fedxai.cli.intake import progress_bar

app = typer.Typer(no_args_is_help=True, help="Split, check and show cohorts, or draw the phantom.")


class SplitBy(str, Enum):
    """How simulated hospitals differ."""

    iid = "iid"
    label_skew = "label-skew"
    quantity = "quantity"
    acquisition = "acquisition"


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

    made = make_sites(
        Cohort.open(cohort), out, sites=sites, by=by.value, alpha=alpha, seed=seed, track=progress_bar
    )
    for name, folder in made.items():
        counts = Cohort.open(folder).counts()
        typer.echo(f"{name}: {counts.training} training, {counts.validation} validation, {counts.test} test cases")
    typer.echo(f"Cohorts root: {out.absolute()}")
