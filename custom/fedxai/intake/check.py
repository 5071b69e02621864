# SPDX-License-Identifier: Apache-2.0
"""Find what would spoil a study before it starts: leaks, missing classes, bad masks, unreadable files."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedxai.errors import CohortError
from fedxai.intake.check_files import Entry, Look, Seen, look_at_files
from fedxai.intake.cohort import Cohort, cohorts_at
from fedxai.intake.copies import find_copies
from fedxai.intake.finding import Finding, error, warning
from fedxai.intake.progress import Track, quiet
from fedxai.records import SPLITS

_PSEUDONYM = re.compile(r"p(\d{4,}|[0-9a-f]{12})")  # by seed, by key


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


def check_cohorts(path: Path, *, track: Track = quiet) -> Checked:
    """Check one cohort, or all cohorts of a root and what is between them.

    Errors: a file that is missing or unreadable; a mask of another size or place than its image; an empty region; a
    value of a label map that is no class; a patient, or a copy of an image (:mod:`fedxai.intake.copies`; of volumes
    only exact copies), in two splits; a patient at two sites; one image with two labels; gray, colour and volumes
    mixed; sites for different tasks, or that name or order classes differently; a class that no site trains on; no
    training cases; no readable ``dataset.json``.
    Warnings: a class missing in a split of a site; an empty validation or test split; a copy at two sites in
    the same split; a constant image; an empty label map; a region that fills the image; no patient groups.

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
        except CohortError as refused:
            text = str(refused).rstrip(".")
            findings.append(error("unreadable", name, text, "make the cohort again with 'fedxai intake'"))
    entries = [
        Entry(site=name, split=split, case=case, cohort=cohort, prefix="" if alone else f"{name}/")
        for name, cohort in cohorts.items()
        for split in SPLITS
        for case in cohort.cases(split)
    ]
    seen = Seen()
    for entry in track(entries, "Checking images"):
        findings += look_at_files(entry, seen)
    findings += [*_about_tasks(cohorts), *_about_classes(cohorts, seen), *_about_patients(entries, cohorts)]
    findings += [*_about_kinds(seen), *_about_copies(seen), *_about_labels(seen)]
    findings.sort(key=lambda finding: (finding.level, finding.rule, finding.where))
    return Checked(cohorts=len(folders), images=len(entries), findings=findings)


def _about_tasks(cohorts: Mapping[str, Cohort]) -> Iterator[Finding]:
    tasks = {name: cohort.task for name, cohort in cohorts.items()}
    for name, task in tasks.items():
        if task != next(iter(tasks.values())):
            yield error("task", name, f"its labels are for {task}, another's are not", "take all in for one task")


def _about_classes(cohorts: Mapping[str, Cohort], seen: Seen) -> Iterator[Finding]:
    trained: set[str] = set()
    first = next(iter(cohorts.values()), None)
    for name, cohort in cohorts.items():
        if first is not None and cohort.class_names != first.class_names:
            yield error(
                "class names",
                name,
                f"its classes are {', '.join(cohort.class_names)}, another's {', '.join(first.class_names)}",
                "take it in again with the same --class-name in the same order",
            )
        for split in SPLITS:
            found = seen.classes.get((name, split), set())
            present = {text for value, text in enumerate(cohort.class_names) if value in found}
            trained |= present if split == "training" else set()
            if not cohort.cases(split):
                make = error if split == "training" else warning
                yield make("empty split", name, f"has no {split} case", "take it in again with larger shares")
                continue
            for missing in sorted(set(cohort.class_names) - present):
                yield warning(
                    "missing class",
                    name,
                    f"has no {missing} in {split}",
                    "figures for that class do not exist there; add cases, or mind it when reading them",
                )
    for missing in sorted({c for cohort in cohorts.values() for c in cohort.class_names} - trained):
        yield error("missing class", "training", f"no case of {missing}", "add cases or take the class out")


def _about_patients(entries: list[Entry], cohorts: Mapping[str, Cohort]) -> Iterator[Finding]:
    homes: dict[tuple[str, str], Entry] = {}
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
        yield error("patient", entry.place, what, "keep all images of a patient in one split of one site")
    for name, cohort in cohorts.items():
        if not any(case.group for split in SPLITS for case in cohort.cases(split)):
            yield warning(
                "patient", name, "has no patient groups", "take it in with --group-column, or leaks go unseen"
            )


def _about_kinds(seen: Seen) -> Iterator[Finding]:
    if len(seen.kinds) > 1:
        kind, places = min(seen.kinds.items(), key=lambda item: len(item[1]))
        yield error(
            "channels",
            min(places),
            f"{len(places)} images are {kind}, the others are not",
            "take all in with --gray, or all with colour",
        )


def _about_copies(seen: Seen) -> Iterator[Finding]:
    keys = [(look.entry.site, look.entry.split) for look in seen.looks]
    numbers = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    places = np.array([numbers[key] for key in keys], dtype=np.int64)
    drawn = np.array([i for i, look in enumerate(seen.looks) if look.mark is not None], dtype=np.int64)
    marks = [look.mark for look in seen.looks if look.mark is not None]
    for i, j, same in find_copies(marks, places[drawn]):
        yield _copy(seen.looks[drawn[i]].entry, seen.looks[drawn[j]].entry, same)
    volumes: dict[bytes, int] = {}
    for i, look in enumerate(seen.looks):
        first = volumes.setdefault(look.digest, i) if look.mark is None else i
        if places[first] != places[i]:
            yield _copy(seen.looks[first].entry, look.entry, True)


def _copy(one: Entry, other: Entry, same: bool) -> Finding:
    how = "the same image as" if same else "a copy of"
    what = f"this {other.split} image is {how} {one.place} ({one.split})"
    make = error if one.split != other.split else warning
    return make("copy", other.place, what, "delete one, and look whether the two belong to one patient")


def _about_labels(seen: Seen) -> Iterator[Finding]:
    known: dict[bytes, Look] = {}
    for look in seen.looks:
        first = known.setdefault(look.digest, look)
        if first.answer != look.answer:
            what = f"the same image as {first.entry.place} has another label"
            yield error("two labels", look.entry.place, what, "find out which label is right")
