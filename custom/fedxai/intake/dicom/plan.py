# SPDX-License-Identifier: Apache-2.0
"""Which files of an export make which cases: by patient, study and series, and by the table's rows."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fedxai.errors import CohortError, SettingsError
from fedxai.intake.dicom.instance import KEYS, MODALITIES, Instance
from fedxai.intake.dicom.numbers import same_pixels
from fedxai.intake.dicom.sources import PictureSource, RefusedSource, Said, StackSource
from fedxai.intake.dicom.stacks import stacks_of
from fedxai.intake.evenly import evenly
from fedxai.intake.site_key import SiteKey
from fedxai.intake.table import Row

DicomSource = StackSource | PictureSource | RefusedSource
_IMAGES = ("slices", "picture")
_MAY_LACK_ONE = "An image of the patient is cut short before it says of which series it is; export the study again."


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What of an export is wanted.

    Attributes:
        keyed_by: what the table's key column holds.
        modality: code of the images to take; needed where there are several.
        frames: of a loop (ultrasound), how many at most, evenly chosen.
        structures: see :class:`fedxai.intake.dicom.sources.Said`.
        masks: folder that the table's mask files are relative to.
    """

    keyed_by: str = "study"
    modality: str | None = None
    frames: int = 8
    structures: Sequence[str] = ()
    masks: Path = Path()

    def __post_init__(self) -> None:
        if self.keyed_by not in KEYS:
            raise SettingsError(f"--keyed-by must be one of {', '.join(KEYS)}, got {self.keyed_by!r}.")
        if self.frames < 1:
            raise SettingsError(f"--frames must be at least 1, got {self.frames}.")


@dataclass(kw_only=True)
class Plan:
    """Cases to take, and in plain words what was left out."""

    sources: list[DicomSource] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    modality: str = "OT"


def plan(instances: Sequence[Instance], rows: Sequence[Row] | None, choice: Choice, key_file: Path) -> Plan:
    """Sort the files of an export into cases.

    Args:
        instances: every file that could be read.
        rows: the table, ``image`` being the key; ``None`` takes everything.
        choice: what is wanted.
        key_file: of the site's key, for the pseudonyms that cases are called by; not made before all else is in order.

    Raises:
        CohortError: the table names a key twice or nothing of the export, or several modalities are there and none
            is chosen.
    """
    images = [instance for instance in instances if instance.kind in _IMAGES]
    known = None if rows is None else _by_key(rows)
    matched = [i for i in images if known is None or i.keys[choice.keyed_by] in known]
    modality = _modality(matched, images, choice)
    wanted = [i for i in matched if i.modality == modality]
    sliced = any(i.kind == "slices" for i in wanted)
    taken = _without_doubt([i for i in wanted if (i.kind == "slices") == sliced], instances)
    drawn = [i for i in instances if i.kind == "drawn"]
    ours = [i for i in instances if i.kind == "made here" and (known is None or i.keys[choice.keyed_by] in known)]
    result = Plan(modality=modality, notes=_left_out(instances, images, matched, wanted, taken))
    if known is not None:
        unused = set(known) - {i.keys[choice.keyed_by] for i in matched}
        result.notes += [f"{len(unused)} rows of the table match nothing in the export."] if unused else []
    key = SiteKey.open(key_file)
    in_cohort = {i.keys["series"] for i in taken}
    stray = sum(not mask.drawn_on & in_cohort for mask in drawn)
    result.notes += [f"{stray} SEG or RTSTRUCT refer to nothing that was taken and were left out."] if stray else []
    for series in _series(taken):
        row = None if known is None else known[series[0].keys[choice.keyed_by]]
        result.sources += _sources(series, drawn, _said(row, choice), row, choice, key)
    result.sources += unreadable(Counter(i.reason for i in instances if i.kind == "cut"))
    for series in _series(ours):
        row = None if known is None else known[series[0].keys[choice.keyed_by]]
        result.sources += _refused(series, _place(series[0], key), _patient(series[0], row))
    return result


def _by_key(rows: Sequence[Row]) -> dict[str, Row]:
    known: dict[str, Row] = {}
    for row in rows:
        first = known.setdefault(row.image, row)
        if first is not row:
            raise CohortError(f"Row {row.number} has the same key as row {first.number}; each may be there once.")
    return known


def _modality(matched: Sequence[Instance], images: Sequence[Instance], choice: Choice) -> str:
    if not images:
        raise CohortError("The export holds no images; export the studies with their image series.")
    if not matched:
        raise CohortError(
            f"No {KEYS[choice.keyed_by]} of the export is in the table; --keyed-by says what its key column holds: "
            f"{', '.join(KEYS)}."
        )
    found = Counter(instance.modality for instance in matched)
    if choice.modality is None and len(found) == 1:
        return next(iter(found))
    wanted = (choice.modality or "").upper()
    if wanted not in found:
        named = ", ".join(f"{code} ({count} files)" for code, count in sorted(found.items()))
        raise CohortError(f"--modality must be one of those in the export, {named}; got {_shown(wanted)}.")
    return wanted


def _shown(code: str) -> str:
    return "none" if not code else code if code in MODALITIES else "another"


def _left_out(*stages: Sequence[Instance]) -> list[str]:
    """Say how many files each step of the choice left out."""
    instances, images, matched, wanted, taken = stages
    kinds = Counter(instance.kind for instance in instances)
    counts = {
        "localizers were left out.": kinds["localizer"],
        "files hold no images (reports, plans, presentations) and were left out.": kinds["other"],
        "images belong to nothing that the table names and were left out.": len(images) - len(matched),
        "images of other modalities were left out.": len(matched) - len(wanted),
        "pictures beside slices (captures) were left out.": len(wanted) - len(taken),
    }
    return [f"{count} {text}" for text, count in counts.items() if count]


def _series(taken: Sequence[Instance]) -> Iterator[list[Instance]]:
    """Group by study and series; files that say neither stand alone."""
    groups: dict[tuple[str, ...], list[Instance]] = defaultdict(list)
    for instance in taken:
        names = (instance.patient, instance.keys["study"], instance.keys["series"])
        groups[names if instance.keys["series"] else (*names, str(instance.path))].append(instance)
    yield from groups.values()


def _without_doubt(taken: Sequence[Instance], instances: Sequence[Instance]) -> list[Instance]:
    """Give slices a reason not to be taken where one that was cut short may be theirs: the volume would lack it."""
    cut = {_whose(i) for i in instances if i.kind == "cut" and (i.keys["patient"] or i.keys["study"])}
    return [
        replace(i, reason=i.reason or _MAY_LACK_ONE)
        if i.kind == "slices" and cut & {_whose(i), (*_whose(i)[:2], "")}
        else i
        for i in taken
    ]


def _whose(instance: Instance) -> tuple[str, str, str]:
    return instance.modality, instance.keys["patient"], instance.keys["study"]


def _said(row: Row | None, choice: Choice) -> Said:
    structures = tuple(choice.structures)
    if row is None:
        return Said(structures=structures)
    return Said(
        label=row.label,
        mask=choice.masks / row.mask if row.mask else None,
        split=row.split,
        tabular=tuple(sorted(row.tabular.items())),
        structures=structures,
    )


def _sources(
    series: Sequence[Instance],
    drawn: Sequence[Instance],
    said: Said,
    row: Row | None,
    choice: Choice,
    key: SiteKey,
) -> Iterator[DicomSource]:
    place, patient = _place(series[0], key), _patient(series[0], row)
    yield from _refused(series, place, patient)
    if any(instance.reason for instance in series if instance.kind == "slices"):
        return  # what is left of them would be another volume
    masks = [i for i in drawn if series[0].keys["series"] in i.drawn_on]
    for mask in masks:
        if mask.reason:
            yield RefusedSource(place=place, patient=patient, reason=mask.reason)
            return
    paths = tuple(mask.path for mask in masks)
    frames = [frame for instance in series for frame in instance.frames]
    for number, stack in enumerate(stacks_of(frames, same_pixels), start=1):
        where = f"{place}, volume {number}"
        if isinstance(stack, CohortError):
            yield RefusedSource(place=where, patient=patient, reason=str(stack))
        else:
            yield StackSource(place=where, patient=patient, stack=stack, drawn=paths, said=said)
    for instance in series:
        if instance.pictures and not instance.reason:
            for index in _frames(instance.pictures, choice.frames):
                where = f"{place}, frame {index + 1}"
                yield PictureSource(
                    place=where, patient=patient, path=instance.path, index=index, drawn=paths, said=said
                )


def _refused(series: Sequence[Instance], place: str, patient: str) -> Iterator[RefusedSource]:
    """Give each reason why files of a series cannot be taken, once."""
    for reason, count in Counter(instance.reason for instance in series if instance.reason).items():
        yield RefusedSource(place=place, patient=patient, reason=f"{count} of {len(series)} files: {reason}")


def _patient(instance: Instance, row: Row | None) -> str:
    return row.group if row is not None and row.grouped else instance.patient


def _place(instance: Instance, key: SiteKey) -> str:
    """Name a series by pseudonyms, which the site can compute again and nobody else."""
    study, series = (key.mark(f"{name} {instance.keys[name]}".encode())[:12] for name in ("study", "series"))
    return f"study s{study}, series r{series}"


def _frames(count: int, most: int) -> list[int]:
    """Choose frames from the first to the last; of one, the middle one."""
    return [count // 2] if most == 1 else evenly(range(count), most)


def unreadable(reasons: Mapping[str, int]) -> list[RefusedSource]:
    """Refuse what could not be read at all, so that nobody can tell whose it is; each reason once."""
    return [
        RefusedSource(place=f"{count} files of the export", patient="", reason=reason)
        for reason, count in reasons.items()
    ]
