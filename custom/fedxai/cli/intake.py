# SPDX-License-Identifier: Apache-2.0
"""The `fedxai intake` commands: a hospital's files become a cohort."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fedxai.intake.writing import Taken

app = typer.Typer(no_args_is_help=True, help="Turn a hospital's files into a cohort.")

Out = Annotated[Path, typer.Option(help="The cohort to make: a new folder.")]
Seed = Annotated[int, typer.Option(help="Draws the split and the pseudonyms; the same seed gives the same.")]
ClassNames = Annotated[
    list[str] | None,
    typer.Option("--class-name", help="Name of class 0, then of class 1, ... (repeat); fixes their order."),
]


@app.command()
def raster(
    images: Annotated[Path, typer.Option(help="Folder that the table's file names are relative to.")],
    table: Annotated[Path, typer.Option(help="CSV with a header and one row per image.")],
    out: Out,
    image_column: Annotated[str, typer.Option(help="Column with the image file.")] = "image",
    label_column: Annotated[str, typer.Option(help="Column with the class, as a name or as 0..K-1.")] = "label",
    mask_column: Annotated[
        str | None,
        typer.Option(help="Column with the mask file of the relevant region; 'mask' if there is one."),
    ] = None,
    group_column: Annotated[
        str | None, typer.Option(help="Column that tells patients apart; 'group' if there is one.")
    ] = None,
    split_column: Annotated[
        str | None, typer.Option(help="Column with training, validation or test; drawn if not given.")
    ] = None,
    tabular_column: Annotated[
        list[str] | None, typer.Option(help="Column with a number to keep beside the image (repeat).")
    ] = None,
    class_name: ClassNames = None,
    validation: Annotated[float, typer.Option(help="Share of cases for validation, by whole patients.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share of cases for the test, by whole patients.")] = 0.2,
    modality: Annotated[str, typer.Option(help="What made the images.")] = "MRI",
    gray: Annotated[bool, typer.Option("--gray", help="Store one channel even where images have colour.")] = False,
    seed: Seed = 0,
) -> None:
    """Turn a folder of PNG, JPEG or TIFF images and a table into a cohort.

    Example: `fedxai intake raster --images scans --table cases.csv --group-column patient --out cohort`
    """
    from fedxai.intake.raster import RasterSettings, take_raster
    from fedxai.intake.table import Columns

    columns = Columns(
        image=image_column,
        label=label_column,
        mask=mask_column,
        group=group_column,
        split=split_column,
        tabular=tabular_column or (),
    )
    settings = RasterSettings(
        validation=validation,
        test=test,
        class_names=class_name or (),
        modality=modality,
        gray=gray,
        seed=seed,
    )
    _tell(take_raster(images, table, out, columns=columns, settings=settings, track=progress_bar))


@app.command()
def medmnist(
    file: Annotated[Path, typer.Argument(help="A MedMNIST .npz file.")],
    out: Out,
    class_name: ClassNames = None,
    modality: Annotated[str, typer.Option(help="What made the images.")] = "unknown",
    seed: Seed = 0,
) -> None:
    """Turn a MedMNIST file into a cohort with its official splits, less what would leak between them.

    Example: `fedxai intake medmnist pneumoniamnist.npz --class-name normal --class-name sick --out cohort`
    """
    from fedxai.intake.medmnist import take_medmnist

    taken = take_medmnist(file, out, class_names=class_name or (), modality=modality, seed=seed, track=progress_bar)
    _tell(taken)


def progress_bar(sequence: Sequence[Any], description: str) -> Iterable[Any]:
    """Show on standard error how far long work is, and disappear when it is done."""
    from rich.console import Console
    from rich.progress import track

    return track(sequence, description=description, console=Console(stderr=True), transient=True)


def _tell(taken: "Taken") -> None:
    """Say what was made in one line, and what the person should know in one line each."""
    cohort, counts = taken.cohort, taken.cohort.counts()
    typer.echo(
        f"{cohort.folder}: {counts.training} training, {counts.validation} validation, {counts.test} test "
        f"cases; classes {', '.join(cohort.class_names)}."
    )
    for note in taken.notes:
        typer.echo(f"Note: {note}")
