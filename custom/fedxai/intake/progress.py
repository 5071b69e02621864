# SPDX-License-Identifier: Apache-2.0
"""How long work tells how far it is, without knowing who listens."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol


class Track(Protocol):
    """Pass the items on one by one and show how many are done (``rich.progress.track`` fits)."""

    def __call__(self, sequence: Sequence[Any], description: str) -> Iterable[Any]:
        """Pass the items on."""
        ...


def quiet(sequence: Sequence[Any], description: str) -> Iterable[Any]:
    """Pass the items on and show nothing."""
    return sequence
