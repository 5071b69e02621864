# SPDX-License-Identifier: Apache-2.0
"""Some of many, spread from the first to the last: frames of a loop, slices of a volume, cases of a contact sheet."""

import numpy as np


def evenly(count: int, most: int) -> list[int]:
    """Places of at most ``most`` of ``count`` things, the first and the last among them from two on.

    Example:
        >>> evenly(9, 3)
        [0, 4, 8]
    """
    return [int(place) for place in np.unique(np.linspace(0, count - 1, min(count, most)).round())]
