# SPDX-License-Identifier: Apache-2.0
"""What an intake did, for the people of the site: how many were taken, which were refused and why, a contact sheet."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedxai.intake.cohort import Cohort
from fedxai.intake.contact_sheet import draw_contact_sheet

REPORT = "report.md"
SHEET = "contact_sheet.png"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A case that was not taken: its pseudonym, its place among the sources, and why."""

    patient: str
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place} (patient {self.patient}): {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What an intake gives back."""

    cohort: Cohort
    taken: int
    known: int = 0  # in the cohort already, and left as they were
    refused: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def write_report(
    folder: Path, done: Taken | None, *, refused: Sequence[Refusal] = (), notes: Sequence[str] = ()
) -> Path:
    """Write ``report.md`` and ``contact_sheet.png``.

    Args:
        folder: where the site keeps what it knows of the intake; it is no part of the cohort.
        done: what was taken, or ``None`` where all was given up.
        refused: what was refused where all was given up.
        notes: what the person should know where all was given up.

    Returns:
        The report.
    """
    lines = ["# Intake", "", *(_taken(done) if done else ["Nothing was taken in."])]
    refused, notes = (done.refused, done.notes) if done else (refused, notes)
    lines += ["", *(f"- {note}" for note in notes), *([""] if notes else []), *_refused(refused)]
    (folder / SHEET).unlink(missing_ok=True)
    if done:
        draw_contact_sheet({done.cohort.name: done.cohort}, folder / SHEET)
        lines += ["", f"![Some of the cases]({SHEET})", "", "The picture shows patients: keep it inside the site."]
    path = folder / REPORT
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _taken(done: Taken) -> list[str]:
    counts = done.cohort.counts()
    return [
        f"{done.taken} cases were taken in, {done.known} were there before, {len(done.refused)} were refused.",
        f"The cohort has {counts.training} training, {counts.validation} validation and {counts.test} test cases of "
        f"{done.cohort.task}; classes: {', '.join(done.cohort.class_names)}.",
    ]


def _refused(refused: Sequence[Refusal]) -> list[str]:
    if not refused:
        return ["Nothing was refused."]
    reasons = Counter(refusal.reason for refusal in refused)
    return [
        "## Refused",
        "",
        "| cases | why |",
        "|---|---|",
        *(f"| {count} | {_cell(reason)} |" for reason, count in reasons.most_common()),
        "",
        "| place | patient | why |",
        "|---|---|---|",
        *(f"| {refusal.place} | {refusal.patient} | {_cell(refusal.reason)} |" for refusal in refused),
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
