# SPDX-License-Identifier: Apache-2.0
"""A finding of a check: what would spoil a study, where, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

from fedxai.errors import CohortError

Level = Literal["error", "warning"]


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


def error(rule: str, where: str, what: str, remedy: str) -> Finding:
    """Return a finding that must be mended."""
    return Finding(level="error", rule=rule, where=where, what=what, remedy=remedy)


def warning(rule: str, where: str, what: str, remedy: str) -> Finding:
    """Return a finding that people should know of."""
    return Finding(level="warning", rule=rule, where=where, what=what, remedy=remedy)


def unreadable(where: str, refused: CohortError) -> Finding:
    """Return the finding for a refused file: "The image cannot be read (OSError); export it again." in two parts."""
    what, _, remedy = str(refused).rstrip(".").partition("; ")
    return error("unreadable", where, what[0].lower() + what[1:], remedy or "take the cohort in again")
