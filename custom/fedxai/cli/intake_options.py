# SPDX-License-Identifier: Apache-2.0
"""Options that several `fedxai intake` commands share, each with its sentence."""

from pathlib import Path
from typing import Annotated

import typer

ClassNames = Annotated[
    list[str] | None,
    typer.Option("--class-name", help="Name of class 0, then of class 1, ... (repeat); fixes their order."),
]
LabelColumn = Annotated[str, typer.Option(help="Column with the class, as a name or as 0..K-1.")]
GroupColumn = Annotated[str | None, typer.Option(help="Column that tells patients apart; 'group' if there is one.")]
SplitColumn = Annotated[str | None, typer.Option(help="Column with training, validation or test; drawn if not given.")]
TabularColumn = Annotated[
    list[str] | None, typer.Option(help="Column with a number to keep beside the image (repeat).")
]
Validation = Annotated[float, typer.Option(help="Share of cases for validation, by whole patients.")]
Test = Annotated[float, typer.Option(help="Share of cases for the test, by whole patients.")]
Grown = Annotated[Path, typer.Option(help="The cohort to make, or one made before, to which what is new is added.")]
ValueNames = Annotated[
    list[str] | None,
    typer.Option("--class-name", help="Name of class, or label map value, 0, then of 1, ... (repeat)."),
]
Key = Annotated[
    Path | None, typer.Option(help="File of the site's key for pseudonyms; one in OUT.intake if not given.")
]
Seed = Annotated[int, typer.Option(help="Draws the split; the same seed gives the same.")]
Workers = Annotated[int, typer.Option(help="How many processes read at once.")]
Strict = Annotated[bool, typer.Option("--strict", help="Take nothing in when anything is refused.")]
