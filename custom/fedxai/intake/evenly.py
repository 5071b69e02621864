# SPDX-License-Identifier: Apache-2.0
"""Some of many, spread from the first to the last: frames of a loop, slices of a volume, cases of a split."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def evenly(things: Sequence[T], most: int) -> list[T]:
    """At most ``most`` of ``things`` in their order, the first and the last among them from two on.

    Thing ``round(i (n - 1) / (k - 1))`` of n for i = 0 ... k - 1, k = min(most, n).

    Example:
        >>> evenly(range(9), 3)
        [0, 4, 8]
    """
    places = np.linspace(0, len(things) - 1, min(len(things), most)).round()
    return [things[int(place)] for place in places]
