# SPDX-License-Identifier: Apache-2.0
"""What reading a bundle found: one line for each import, target, expression and file."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["import", "target", "expression", "script", "file", "weights"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that runs or could run, and whether it may.

    Attributes:
        where: file of the bundle, and the configuration's id or the script's line in it.
        kind: what it is.
        what: its text, at most 120 characters.
        runs: whether it runs at a site that trains this bundle.
        reaches: what it would reach outside the allow list, where a published bundle may have such a thing.
        problem: why the bundle is refused for it; None where it is not.
    """

    where: str
    kind: Kind
    what: str
    runs: bool
    reaches: str | None = None
    problem: str | None = None
