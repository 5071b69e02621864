# SPDX-License-Identifier: Apache-2.0
"""Patient-level bootstrap intervals: patients are drawn with replacement, each with all of its cases."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap

from fedxai.errors import SettingsError

NORMAL = 1.959964  # half-width of a 95 % interval in standard errors
_TOGETHER = 32  # resamples that scipy draws at once, so that memory does not grow with their number


def group_interval(
    statistic: Callable[[NDArray[np.intp]], float],
    groups: Sequence[str],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap over groups (the cluster bootstrap): cases of one patient are not independent.

    Args:
        statistic: takes the indices of the drawn cases, with repetition, and returns a number; NaN where it
            does not exist for them (a class missing): such draws are left out of the percentiles.
        groups: the patient of each case; an empty name means unknown, and such a case is a group of its own.
        resamples: number of draws.
        level: share of draws between the two bounds.
        seed: of the draws.

    Returns:
        Lower and upper bound; (NaN, NaN) with fewer than two groups or without any draw that has a value.

    Raises:
        SettingsError: when there are no cases, or a setting breaks its rule.

    Source: Davison and Hinkley 1997, Bootstrap Methods and their Application, section 3.8.

    Example:
        >>> values = np.array([0.0, 1.0, 1.0, 0.0])
        >>> low, high = group_interval(lambda index: values[index].mean(), ["a", "b", "c", "d"])
    """
    if not len(groups) or resamples < 1 or not 0 < level < 1:
        raise SettingsError(
            f"intervals need cases, resamples >= 1 and 0 < level < 1, got {len(groups)}, {resamples}, {level}"
        )
    order, starts, sizes = _members(groups)
    if len(starts) < 2:
        return float("nan"), float("nan")

    def of_drawn(drawn: NDArray[np.intp]) -> float:
        return statistic(order[_ranges(starts[drawn], sizes[drawn])])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # draws without a value are left out below
        draws = bootstrap(
            (np.arange(len(starts)),),
            of_drawn,
            n_resamples=resamples,
            batch=_TOGETHER,
            vectorized=False,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    known = draws[np.isfinite(draws)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _members(groups: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Case indices ordered by group, and where each group starts and how many cases it has."""
    numbers: dict[object, int] = {}
    keys = [group or index for index, group in enumerate(groups)]
    of_case = np.array([numbers.setdefault(key, len(numbers)) for key in keys])
    sizes = np.bincount(of_case)
    return np.argsort(of_case, kind="stable"), np.cumsum(sizes) - sizes, sizes


def _ranges(starts: NDArray[np.intp], sizes: NDArray[np.intp]) -> NDArray[np.intp]:
    """``start, start + 1, ... start + size - 1`` of each group, in one row."""
    before = np.cumsum(sizes) - sizes
    return np.repeat(starts - before, sizes) + np.arange(sizes.sum())
