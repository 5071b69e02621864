# SPDX-License-Identifier: Apache-2.0
"""What one check of a preflight found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A check's name, what it found, and what to do about it; nothing to do means that it passed."""

    check: str
    found: str
    remedy: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing has to be done."""
        return not self.remedy
