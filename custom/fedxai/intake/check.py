# SPDX-License-Identifier: Apache-2.0
"""Find what would spoil a study before it starts: leaks, missing classes, bad masks, unreadable files."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from fedxai.errors import CohortError
from fedxai.intake.cohort import Cohort, cohorts_at
from fedxai.intake.copies import Fingerprint, find_copies
from fedxai.intake.pixels import Pixels, read_image
from fedxai.intake.progress import Track, quiet
from fedxai.records import SPLITS, Case, Split

Level = Literal["error", "warning"]

_PSEUDONYM = re.compile(r"p\d{4,}")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that would spoil a study: where, what, and what to do."""

    level: Level
    rule: str
    where: str  # a file or cohort, relative to what was checked
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.level.upper()} {self.where}: {self.what}; {self.remedy}."


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a check gives back."""

    cohorts: int
    images: int
    findings: list[Finding]

    @property
    def passed(self) -> bool:
        """Whether nothing is an error (warnings may be)."""
        return all(finding.level != "error" for finding in self.findings)


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A case with where it is: ``place`` names its file for people."""

    site: str
    split: Split
    case: Case
    place: str


@dataclass
class _Seen:
    """What is kept of the readable images while going through them."""

    entries: list[_Entry] = field(default_factory=list)
    prints: list[Fingerprint] = field(default_factory=list)
    kinds: dict[str, set[str]] = field(default_factory=dict)


def check_cohorts(path: Path, *, track: Track = quiet) -> Checked:
    """Check one cohort, or all cohorts of a root and what is between them.

    Errors: a file that is missing or unreadable; a mask of another size than its image, or empty; a patient,
    or a copy of an image (:mod:`fedxai.intake.copies`), in two splits; a patient at two sites; one image with
    two labels; gray and colour mixed; sites that name or order classes differently; a class that no site
    trains on; no training cases; no readable ``dataset.json``.
    Warnings: a class missing in a split of a site; an empty validation or test split; a copy at two sites in
    the same split; a constant image; a region that fills the image; no patient groups.

    Args:
        path: a cohort or a cohorts root.
        track: shows progress.

    Raises:
        CohortError: the path holds no cohort at all.
    """
    findings: list[Finding] = []
    folders = cohorts_at(path)
    alone = len(folders) == 1 and next(iter(folders.values())) == Path(path).absolute()
    cohorts: dict[str, Cohort] = {}
    for name, folder in folders.items():
        try:
            cohorts[name] = Cohort.open(folder, leaks=True)
        except CohortError as error:
            text = str(error).rstrip(".")
            findings.append(_error("unreadable", name, text, "make the cohort again with 'fedxai intake'"))
    entries = [
        _Entry(site=name, split=split, case=case, place=_place(case.image, cohort, name, alone))
        for name, cohort in cohorts.items()
        for split in SPLITS
        for case in cohort.cases(split)
    ]
    findings += [*_about_classes(cohorts), *_about_patients(entries, cohorts)]
    seen = _Seen()
    for entry in track(entries, "Checking images"):
        findings += _about_files(entry, cohorts[entry.site], alone, seen)
    findings += [*_about_kinds(seen), *_about_copies(seen)]
    findings.sort(key=lambda finding: (finding.level, finding.rule, finding.where))
    return Checked(cohorts=len(folders), images=len(entries), findings=findings)


def _error(rule: str, where: str, what: str, remedy: str) -> Finding:
    return Finding(level="error", rule=rule, where=where, what=what, remedy=remedy)


def _warning(rule: str, where: str, what: str, remedy: str) -> Finding:
    return Finding(level="warning", rule=rule, where=where, what=what, remedy=remedy)


def _place(path: Path, cohort: Cohort, site: str, alone: bool) -> str:
    inside = path.relative_to(cohort.folder).as_posix()
    return inside if alone else f"{site}/{inside}"


def _about_classes(cohorts: Mapping[str, Cohort]) -> Iterator[Finding]:
    trained: set[str] = set()
    first = next(iter(cohorts.values()), None)
    for name, cohort in cohorts.items():
        if first is not None and cohort.class_names != first.class_names:
            yield _error(
                "class names",
                name,
                f"its classes are {', '.join(cohort.class_names)}, another's {', '.join(first.class_names)}",
                "take it in again with the same --class-name in the same order",
            )
        for split in SPLITS:
            present = {cohort.class_names[case.class_index] for case in cohort.cases(split)}
            trained |= present if split == "training" else set()
            if not present:
                make = _error if split == "training" else _warning
                yield make("empty split", name, f"has no {split} case", "take it in again with larger shares")
                continue
            for missing in sorted(set(cohort.class_names) - present):
                yield _warning(
                    "missing class",
                    name,
                    f"has no {missing} in {split}",
                    "figures for that class do not exist there; add cases, or mind it when reading them",
                )
    for missing in sorted({c for cohort in cohorts.values() for c in cohort.class_names} - trained):
        yield _error("missing class", "training", f"no case of {missing}", "add cases or take the class out")


def _about_patients(entries: list[_Entry], cohorts: Mapping[str, Cohort]) -> Iterator[Finding]:
    homes: dict[tuple[str, str], _Entry] = {}
    reported: set[tuple[str, str, str]] = set()
    for entry in entries:
        group = entry.case.group
        if not group:
            continue
        # Two hospitals may both have a p0001: only pseudonyms of one origin, or true ids, mean one person.
        space = (cohorts[entry.site].pseudonyms or entry.site) if _PSEUDONYM.fullmatch(group) else ""
        home = homes.setdefault((space, group), entry)
        if (home.site, home.split) == (entry.site, entry.split) or (
            group,
            entry.site,
            entry.split,
        ) in reported:
            continue
        reported.add((group, entry.site, entry.split))
        what = f"patient {group} is in {home.split} of {home.site} and in {entry.split} of {entry.site}"
        yield _error("patient", entry.place, what, "keep all images of a patient in one split of one site")
    for name, cohort in cohorts.items():
        if not any(case.group for split in SPLITS for case in cohort.cases(split)):
            yield _warning(
                "patient", name, "has no patient groups", "take it in with --group-column, or leaks go unseen"
            )


def _about_files(entry: _Entry, cohort: Cohort, alone: bool, seen: _Seen) -> Iterator[Finding]:
    """Open a case's files; what is readable goes into ``seen``."""
    try:
        pixels = read_image(entry.case.image, what="image")
    except CohortError as error:
        yield _error("unreadable", entry.place, *_sentence(error))
        return
    if pixels.min() == pixels.max():
        yield _warning("constant", entry.place, "the image has one value everywhere", "export it again")
    seen.entries.append(entry)
    seen.prints.append(Fingerprint.take(pixels))
    seen.kinds.setdefault("gray" if pixels.ndim == 2 else "colour", set()).add(entry.place)
    if entry.case.region is not None:
        yield from _about_region(entry.case.region, pixels, _place(entry.case.region, cohort, entry.site, alone))


def _about_region(region: Path, pixels: Pixels, place: str) -> Iterator[Finding]:
    try:
        mask = read_image(region, what="mask")
    except CohortError as error:
        yield _error("unreadable", place, *_sentence(error))
        return
    if mask.shape[:2] != pixels.shape[:2]:
        yield _error(
            "mask size",
            place,
            f"the mask is {mask.shape[:2]}, its image {pixels.shape[:2]} (rows, columns)",
            "export the mask on the image's grid",
        )
    elif not mask.any():
        yield _error("empty mask", place, "the mask is empty", "draw the region, or list the case without one")
    elif mask.all():
        yield _warning("full mask", place, "the region fills the image", "every explanation scores 1; draw it")


def _sentence(error: CohortError) -> tuple[str, str]:
    """Turn "The image cannot be read (OSError); export it again." into what and remedy."""
    what, _, remedy = str(error).rstrip(".").partition("; ")
    return what[0].lower() + what[1:], remedy


def _about_kinds(seen: _Seen) -> Iterator[Finding]:
    if len(seen.kinds) > 1:
        kind, places = min(seen.kinds.items(), key=lambda item: len(item[1]))
        yield _error(
            "channels",
            min(places),
            f"{len(places)} images are {kind}, the others are not",
            "take all in with --gray, or all with colour",
        )


def _about_copies(seen: _Seen) -> Iterator[Finding]:
    keys = [(entry.site, entry.split) for entry in seen.entries]
    numbers = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    places = np.array([numbers[key] for key in keys], dtype=np.int64)
    for i, j, same in find_copies(seen.prints, places):
        one, other = seen.entries[i], seen.entries[j]
        how = "the same image as" if same else "a copy of"
        what = f"this {other.split} image is {how} {one.place} ({one.split})"
        make = _error if one.split != other.split else _warning
        yield make("copy", other.place, what, "delete one, and look whether the two belong to one patient")
    labels: dict[bytes, _Entry] = {}
    for entry, mark in zip(seen.entries, seen.prints, strict=True):
        known = labels.setdefault(mark.digest, entry)
        if known.case.label != entry.case.label:
            what = f"the same image as {known.place} has another label"
            yield _error("two labels", entry.place, what, "find out which label is right")
