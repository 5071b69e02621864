# SPDX-License-Identifier: Apache-2.0
"""The `fedxai intake` commands: a hospital's files become a cohort."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedxai.cli.intake_options import (
    ClassNames,
    GroupColumn,
    Grown,
    Key,
    LabelColumn,
    Seed,
    SplitColumn,
    Strict,
    TabularColumn,
    Test,
    Validation,
    ValueNames,
    Workers,
)
from fedxai.cli.progress import progress_bar

if TYPE_CHECKING:
    from fedxai.intake.intake_report import Taken

app = typer.Typer(no_args_is_help=True, help="Turn a hospital's files into a cohort.")


@app.command()
def raster(
    images: Annotated[Path, typer.Option(help="Folder that the table's file names are relative to.")],
    table: Annotated[Path, typer.Option(help="CSV with a header and one row per image.")],
    out: Grown,
    image_column: Annotated[str, typer.Option(help="Column with the image file.")] = "image",
    label_column: LabelColumn = "label",
    mask_column: Annotated[
        str | None,
        typer.Option(help="Column with the mask file of the relevant region; 'mask' if there is one."),
    ] = None,
    group_column: GroupColumn = None,
    split_column: SplitColumn = None,
    tabular_column: TabularColumn = None,
    spacing_column: Annotated[str | None, typer.Option(help="Column with the mm from pixel to pixel.")] = None,
    class_name: ClassNames = None,
    validation: Validation = 0.1,
    test: Test = 0.2,
    modality: Annotated[str, typer.Option(help="What made the images.")] = "MRI",
    gray: Annotated[bool, typer.Option("--gray", help="Store one channel even where images have colour.")] = False,
    key: Key = None,
    workers: Workers = 1,
    strict: Strict = False,
    seed: Seed = 0,
) -> None:
    """Turn a folder of PNG, JPEG or TIFF images and a table into a cohort; run again, it adds only what is new.

    What cannot be taken is refused with a reason and the rest goes on; OUT.intake/report.md beside the cohort lists it.

    Example: `fedxai intake raster --images scans --table cases.csv --group-column patient --out cohort`
    """
    from fedxai.intake.raster import take_raster
    from fedxai.intake.table import Columns
    from fedxai.intake.taking import IntakeSettings

    taken = take_raster(
        images,
        table,
        out,
        columns=Columns(
            image=image_column,
            label=label_column,
            mask=mask_column,
            group=group_column,
            split=split_column,
            tabular=tabular_column or (),
            spacing=spacing_column,
        ),
        settings=IntakeSettings(
            validation=validation,
            test=test,
            class_names=class_name or (),
            modality=modality,
            seed=seed,
            key=key,
            workers=workers,
            strict=strict,
        ),
        gray=gray,
        track=progress_bar,
    )
    _tell(taken)


@app.command()
def medmnist(
    file: Annotated[Path, typer.Argument(help="A MedMNIST .npz file.")],
    out: Annotated[Path, typer.Option(help="The cohort to make: a new folder.")],
    class_name: ClassNames = None,
    modality: Annotated[str, typer.Option(help="What made the images.")] = "unknown",
    seed: Annotated[int, typer.Option(help="Draws the pseudonyms; the same seed gives the same.")] = 0,
) -> None:
    """Turn a MedMNIST file into a cohort with its official splits, less what would leak between them.

    Example: `fedxai intake medmnist pneumoniamnist.npz --class-name normal --class-name sick --out cohort`
    """
    from fedxai.intake.medmnist import take_medmnist

    taken = take_medmnist(file, out, class_names=class_name or (), modality=modality, seed=seed, track=progress_bar)
    _tell(taken)


@app.command()
def nifti(
    images: Annotated[Path, typer.Option(help="Folder of .nii.gz, .nii, .nrrd or .mha files, one volume each.")],
    out: Grown,
    labels: Annotated[
        Path | None, typer.Option(help="Folder of label maps named as the images: a cohort for segmentation.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="CSV with a header and one row per image; needed where no --labels are.")
    ] = None,
    regions: Annotated[Path | None, typer.Option(help="Folder of masks of the relevant regions.")] = None,
    image_column: Annotated[str, typer.Option(help="Column with the image file, relative to --images.")] = "image",
    label_column: LabelColumn = "label",
    mask_column: Annotated[
        str | None, typer.Option(help="Column with the region's file, relative to --regions (or --images).")
    ] = None,
    group_column: GroupColumn = None,
    split_column: SplitColumn = None,
    tabular_column: TabularColumn = None,
    class_name: ValueNames = None,
    validation: Validation = 0.1,
    test: Test = 0.2,
    modality: Annotated[str, typer.Option(help="What made the images.")] = "MRI",
    frame: Annotated[
        int | None, typer.Option(help="Which volume of a series in time (4D); refused if not given.")
    ] = None,
    nan_as: Annotated[
        float | None, typer.Option(help="What stands in for voxels that are not a number; refused if not given.")
    ] = None,
    unplaced: Annotated[
        bool, typer.Option("--unplaced", help="Take files that do not say how the patient lay as if they were RAS.")
    ] = False,
    label_value: Annotated[
        list[int] | None, typer.Option(help="Value of label maps that becomes 1, then 2, ... (repeat): 255 for 0/255.")
    ] = None,
    key: Key = None,
    workers: Workers = 1,
    strict: Strict = False,
    seed: Seed = 0,
) -> None:
    """Turn a folder of volumes into a cohort; run again, it adds only what is new.

    What cannot be taken is refused with a reason and the rest goes on; OUT.intake/report.md beside the cohort lists it.

    Example: `fedxai intake nifti --images imagesTr --labels labelsTr --class-name background --class-name anterior
    --class-name posterior --out hippocampus`
    """
    from fedxai.intake.nifti import Folders, take_nifti
    from fedxai.intake.table import Columns
    from fedxai.intake.taking import IntakeSettings
    from fedxai.intake.volume_file import Reading

    taken = take_nifti(
        Folders(images=images, labels=labels, regions=regions, table=table),
        out,
        columns=Columns(
            image=image_column,
            label=label_column,
            mask=mask_column,
            group=group_column,
            split=split_column,
            tabular=tabular_column or (),
        ),
        reading=Reading(frame=frame, nan_as=nan_as, unplaced=unplaced, label_values=tuple(label_value or ())),
        settings=IntakeSettings(
            validation=validation,
            test=test,
            class_names=class_name or (),
            modality=modality,
            seed=seed,
            key=key,
            workers=workers,
            strict=strict,
        ),
        track=progress_bar,
    )
    _tell(taken)


@app.command()
def dicom(
    export: Annotated[Path, typer.Argument(help="What the PACS exported: a folder, a ZIP or a DICOMDIR.")],
    out: Grown,
    table: Annotated[
        Path | None, typer.Option(help="CSV with a header and one row per study, series or patient.")
    ] = None,
    keyed_by: Annotated[
        str, typer.Option(help="What the key column holds: study, series, patient or accession.")
    ] = "study",
    key_column: Annotated[
        str | None, typer.Option(help="Column with the key; named as --keyed-by if not given.")
    ] = None,
    label_column: LabelColumn = "label",
    mask_column: Annotated[
        str | None, typer.Option(help="Column with a mask's file (NIfTI, NRRD, PNG), relative to the table.")
    ] = None,
    group_column: Annotated[
        str | None, typer.Option(help="Column that tells patients apart; else PatientID does.")
    ] = None,
    split_column: SplitColumn = None,
    tabular_column: TabularColumn = None,
    class_name: ValueNames = None,
    modality: Annotated[str | None, typer.Option(help="Code of the images to take where there are several.")] = None,
    segmentation: Annotated[
        bool,
        typer.Option("--segmentation", help="Label maps from the SEG or RTSTRUCT structures named as the classes."),
    ] = False,
    structure: Annotated[
        list[str] | None,
        typer.Option(help="SEG or RTSTRUCT structure that makes the region (repeat); all if not given."),
    ] = None,
    frames: Annotated[int, typer.Option(help="Of a loop of pictures, how many to take at most, evenly chosen.")] = 8,
    allow_burned_in: Annotated[
        bool, typer.Option("--allow-burned-in", help="Take pictures that may have text burnt in; look at them first.")
    ] = False,
    validation: Validation = 0.1,
    test: Test = 0.2,
    key: Key = None,
    workers: Workers = 1,
    strict: Strict = False,
    seed: Seed = 0,
) -> None:
    """Turn a PACS export into a cohort without names and dates; run again, it adds only what is new.

    CT, MR and PT series become volumes, everything else pictures. What cannot be taken is refused with a reason and
    the rest goes on; OUT.intake/report.md beside the cohort lists it.

    Example: `fedxai intake dicom export --table labels.csv --keyed-by accession --modality CT --out cohort`
    """
    from fedxai.intake.dicom.plan import Choice
    from fedxai.intake.dicom.take import DicomSettings, take_dicom
    from fedxai.intake.table import Columns
    from fedxai.intake.taking import IntakeSettings

    taken = take_dicom(
        export,
        table,
        out,
        columns=Columns(
            image=key_column or keyed_by,
            label=label_column,
            mask=mask_column,
            group=group_column,
            split=split_column,
            tabular=tabular_column or (),
        ),
        settings=DicomSettings(
            choice=Choice(
                keyed_by=keyed_by,
                modality=modality,
                frames=frames,
                structures=structure or (),
                masks=table.parent if table else Path(),
            ),
            intake=IntakeSettings(
                validation=validation,
                test=test,
                class_names=class_name or (),
                seed=seed,
                key=key,
                workers=workers,
                strict=strict,
            ),
            segmentation=segmentation,
            allow_burned_in=allow_burned_in,
        ),
        track=progress_bar,
    )
    _tell(taken)


def _tell(done: "Taken") -> None:
    """Say what was made, what the person should know in one line each, and the refused ones on standard error."""
    for refusal in done.refused:
        typer.echo(f"Refused: {refusal}", err=True)
    cohort, counts = done.cohort, done.cohort.counts()
    typer.echo(f"{done.taken} taken in, {done.known} were there before, {len(done.refused)} refused.")
    typer.echo(
        f"{cohort.folder}: {counts.training} training, {counts.validation} validation, {counts.test} test "
        f"cases; classes {', '.join(cohort.class_names)}."
    )
    for note in done.notes:
        typer.echo(f"Note: {note}")
