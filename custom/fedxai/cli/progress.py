# SPDX-License-Identifier: Apache-2.0
"""How a person sees that long work goes on."""

from collections.abc import Iterable, Sequence
from typing import Any


def progress_bar(sequence: Sequence[Any], description: str) -> Iterable[Any]:
    """Show on standard error how far long work is, and disappear when it is done."""
    from rich.console import Console
    from rich.progress import track

    return track(sequence, description=description, console=Console(stderr=True), transient=True)
