# SPDX-License-Identifier: Apache-2.0
"""`fedxai intake dicom`: from the folder that a PACS exported to a cohort."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fedxai.errors import CohortError, SettingsError
from fedxai.intake.dicom.find import Found, open_export
from fedxai.intake.dicom.instance import Instance, read_instance
from fedxai.intake.dicom.plan import Choice, Plan, plan, unreadable
from fedxai.intake.dicom.reading import NotDicom, in_silence
from fedxai.intake.intake_report import Taken
from fedxai.intake.journal import key_of
from fedxai.intake.progress import Track, quiet
from fedxai.intake.table import Columns, Row, read_rows
from fedxai.intake.taking import IntakeSettings, take_cases


@dataclass(frozen=True, kw_only=True)
class DicomSettings:
    """How an export becomes a cohort; ``intake`` is shared with the others, its modality comes from the files."""

    choice: Choice = field(default_factory=Choice)
    intake: IntakeSettings = field(default_factory=IntakeSettings)
    segmentation: bool = False  # label maps from what was drawn: structures named as the classes after the first
    allow_burned_in: bool = False

    def __post_init__(self) -> None:
        if self.segmentation and len(self.intake.class_names) < 2:
            raise SettingsError("--segmentation needs --class-name for the background and for every structure.")


def take_dicom(
    export: Path,
    table: Path | None,
    out: Path,
    *,
    settings: DicomSettings = DicomSettings(),
    columns: Columns = Columns(),
    track: Track = quiet,
) -> Taken:
    """Turn a PACS export into a cohort, or add to one what is new.

    CT, MR and PET series become volumes of real values in RAS+, everything else pictures as displayed. Only the
    attributes of :mod:`fedxai.intake.dicom.attributes` are read. A case is in memory one at a time.

    Args:
        export: a folder, a ZIP, or a DICOMDIR.
        table: CSV keyed by study, series, patient or accession (``columns.image`` is the key's column); needed but
            for ``segmentation``.
        out: the cohort.
        settings: what is wanted, and how it becomes a cohort.
        columns: which column says what.
        track: shows progress.

    Raises:
        CohortError: nothing can be taken, or ``out`` cannot be written; see
            :func:`fedxai.intake.taking.take_cases`.
    """
    if table is None and not settings.segmentation:
        raise CohortError("--table is missing; without it only --segmentation can be taken in.")
    columns = replace(columns, label=None) if settings.segmentation else columns
    rows = None if table is None else read_rows(table, columns)
    with open_export(export) as found:
        planned = _planned(found, rows, out, settings, track)
        shared = replace(settings.intake, modality=planned.modality)
        return take_cases(planned.sources, out, settings=shared, notes=planned.notes, track=track)


def _planned(found: Found, rows: Sequence[Row] | None, out: Path, settings: DicomSettings, track: Track) -> Plan:
    instances: list[Instance] = []
    lost, strangers = Counter(found.refused), 0
    for path in track(found.files, "Reading headers"):
        try:
            instances.append(read_instance(path, allow_burned_in=settings.allow_burned_in))
        except NotDicom:
            strangers += 1
        except CohortError as error:
            lost[str(error)] += 1
    structures = settings.intake.class_names[1:] if settings.segmentation else settings.choice.structures
    choice = replace(settings.choice, structures=structures)
    with in_silence():
        planned = plan(instances, rows, choice, key_of(out, settings.intake.key))
    planned.sources += unreadable(lost)
    planned.notes = [*found.notes, *planned.notes]
    planned.notes += [f"{strangers} files are not DICOM after all and were left out."] if strangers else []
    return planned
