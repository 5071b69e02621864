# SPDX-License-Identifier: Apache-2.0
"""The mean over cases with its patient-level interval."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedxai.combine.intervals import group_interval, mean_of
from fedxai.records import Figure


def case_mean(values: NDArray[np.float64], groups: Sequence[str], *, seed: int = 0) -> Figure:
    """Mean of ``values`` (N,) and its 95 % percentile bootstrap interval over patients.

    Args:
        values: one number a case, all finite.
        groups: the patient of each case; an empty name means unknown, and such a case is a group of its own.
        seed: of the draws.

    Returns:
        The mean with ``n = N``; no value without cases, no interval with fewer than two patients.
    """
    if not len(values):
        return Figure(value=None, n=0)
    low, high = group_interval(mean_of(values), groups, seed=seed)
    return Figure(value=values.mean(), n=len(values), low=low, high=high)
