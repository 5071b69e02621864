# SPDX-License-Identifier: Apache-2.0
"""Figures over cases with patient-level intervals: patients are drawn with replacement, each with all of its cases."""

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap, norm, t

from fedxai.errors import SettingsError
from fedxai.records import Figure

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Of weights ``(R, N)``, how often each of N cases was drawn in each of R resamples: R numbers."""

NORMAL = 1.959964  # half-width of a 95 % interval in standard errors
FEWEST_FOR_INTERVAL = 5  # the ends of fewer patients' intervals are single patients' own figures: of 2 and 3 always
_TOGETHER = 100  # resamples that are drawn at once, so that memory does not grow with their number


def group_interval(
    statistic: Statistic,
    groups: Sequence[str],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Expanded percentile bootstrap over groups (the cluster bootstrap): cases of one patient are not independent.

    Percentiles alone are too narrow where groups are few: draws of n groups vary by ``sqrt((n - 1) / n)`` too little,
    and they know no t distribution. So the bounds are the percentiles ``Phi(-+ t sqrt(n / (n - 1)))`` of the draws,
    with ``t`` the quantile of ``level`` of Student's t with n - 1 degrees of freedom: for a mean about its t interval,
    and for many groups the percentiles of ``level`` itself. Of two groups it is their range, which holds the mean of
    all in half of the samples only; nothing that is drawn from two goes further.

    Args:
        statistic: of the weights of N cases in R resamples; NaN where it does not exist for a resample (a class
            missing): such draws are left out of the percentiles.
        groups: the patient of each case; an empty name means unknown, and such a case is a group of its own.
        resamples: number of draws.
        level: share of draws between the two bounds.
        seed: of the draws.

    Returns:
        Lower and upper bound; (NaN, NaN) with fewer than two groups or without any draw that has a value.

    Raises:
        SettingsError: when there are no cases, or a setting breaks its rule.

    Source: Davison and Hinkley 1997, Bootstrap Methods and their Application, section 3.8; expanded as in Hesterberg
    2015, What Teachers Should Know About the Bootstrap, The American Statistician 69(4), section 5.3.

    Example:
        >>> low, high = group_interval(mean_of(np.array([0.0, 1.0, 1.0, 0.0])), ["a", "b", "c", "d"])
    """
    if not len(groups) or resamples < 1 or not 0 < level < 1:
        raise SettingsError(
            f"intervals need cases, resamples >= 1 and 0 < level < 1, got {len(groups)}, {resamples}, {level}"
        )
    of_case = numbered(groups)
    patients = int(of_case.max()) + 1
    if patients < 2:
        return float("nan"), float("nan")

    def of_drawn(drawn: NDArray[np.intp], axis: int = -1) -> NDArray[np.float64]:
        rows = patients * np.arange(len(drawn))[:, None]
        counts = np.bincount((drawn + rows).ravel(), minlength=drawn.size).reshape(drawn.shape)
        return statistic(counts[:, of_case].astype(np.float64))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # draws without a value are left out below
        draws = bootstrap(
            (np.arange(patients),),
            of_drawn,
            n_resamples=resamples,
            batch=_TOGETHER,
            vectorized=True,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    known = draws[np.isfinite(draws)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, _expanded(level, patients))
    return float(low), float(high)


def _expanded(level: float, groups: int) -> tuple[float, float]:
    """The shares of draws below the two bounds."""
    below = float(norm.cdf(t.ppf((1 - level) / 2, groups - 1) * math.sqrt(groups / (groups - 1))))
    return below, 1 - below


def figure_of(statistic: Statistic, groups: Sequence[str], *, intervals: bool = True, seed: int = 0) -> Figure:
    """A statistic over cases with its 95 % interval, :func:`group_interval`.

    Args:
        statistic: of the weights of the cases; NaN where it does not exist.
        groups: the patient of each case.
        intervals: whether to compute the interval.
        seed: of its draws.

    Returns:
        The figure with ``n`` = number of cases; no value where the statistic has none or without cases, no interval
        with fewer than five patients (``FEWEST_FOR_INTERVAL``), whose ends would tell single patients.
    """
    if not len(groups):
        return Figure(value=None, n=0)
    value = float(statistic(np.ones((1, len(groups))))[0])
    low = high = None
    if intervals and np.isfinite(value) and patient_count(groups) >= FEWEST_FOR_INTERVAL:
        low, high = group_interval(statistic, groups, seed=seed)
    return Figure(value=value, n=len(groups), low=low, high=high)


def case_mean(values: NDArray[np.float64], groups: Sequence[str], *, seed: int = 0) -> Figure:
    """:func:`figure_of` the mean of ``values`` (N,), one number a case; cases where it is not finite are left out."""
    known = np.isfinite(values)
    groups = [group for group, there in zip(groups, known, strict=True) if there]
    return figure_of(mean_of(values[known]), groups, seed=seed)


def mean_of(values: NDArray) -> Statistic:
    """The mean of ``values`` (N,) over the cases of a resample, ``sum_i w_i v_i / sum_i w_i``."""
    return lambda weights: weights @ values / weights.sum(axis=1)


def numbered(groups: Sequence[str]) -> NDArray[np.intp]:
    """The number of each case's patient, from 0 in the order in which they appear; without a name one of its own."""
    numbers: dict[object, int] = {}
    return np.array(
        [numbers.setdefault(group or index, len(numbers)) for index, group in enumerate(groups)], dtype=np.intp
    )


def patient_count(groups: Sequence[str]) -> int:
    """How many patients the cases are of; a case without a name is one of its own."""
    return int(numbered(groups).max(initial=-1)) + 1
