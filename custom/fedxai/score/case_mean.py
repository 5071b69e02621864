# SPDX-License-Identifier: Apache-2.0
"""The mean over cases with its patient-level interval: the cluster bootstrap, for all resamples at once."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap

from fedxai.records import Figure

_TOGETHER = 250  # resamples drawn at once


def case_mean(values: NDArray[np.float64], groups: Sequence[str], *, seed: int = 0) -> Figure:
    """Mean of ``values`` (N,) and its 95 % percentile bootstrap interval over patients.

    The same figures as :func:`fedxai.combine.intervals.group_interval` for a mean, some thirty times faster: a
    resample's mean is ``sum_p s_p / sum_p n_p`` over its patients p, with s_p the sum of a patient's values and n_p
    their number. An explanation has a hundred such means.

    Args:
        values: one number a case, all finite.
        groups: the patient of each case; an empty name means unknown, and such a case is a group of its own.
        seed: of the draws.

    Returns:
        The mean with ``n = N``; no value without cases, no interval with fewer than two patients.
    """
    if not len(values):
        return Figure(value=None, n=0)
    numbers: dict[object, int] = {}
    of_case = np.array([numbers.setdefault(group or index, len(numbers)) for index, group in enumerate(groups)])
    mean, sizes = float(values.mean()), np.bincount(of_case)
    if len(sizes) < 2:
        return Figure(value=mean, n=len(values))
    sums = np.bincount(of_case, weights=values).astype(np.float64)
    low, high = np.quantile(_draws(sums, sizes, seed), [0.025, 0.975])
    return Figure(value=mean, n=len(values), low=low, high=high)


def _draws(sums: NDArray[np.float64], sizes: NDArray[np.intp], seed: int) -> NDArray[np.float64]:
    def mean_of_drawn(drawn: NDArray[np.intp], axis: int = -1) -> NDArray[np.float64]:
        return sums[drawn].sum(axis=axis) / sizes[drawn].sum(axis=axis)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # equal values: the interval is a point, as it should
        return bootstrap(
            (np.arange(len(sums)),),
            mean_of_drawn,
            n_resamples=1000,
            batch=_TOGETHER,
            vectorized=True,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
