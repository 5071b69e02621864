# SPDX-License-Identifier: Apache-2.0
"""The n-weighted mean of sites' figures: one by one, and by name."""

import math
from collections.abc import Iterable

from fedxai.figures import Figure


def pooled_figure(figures: Iterable[Figure]) -> Figure:
    """The n-weighted mean of the sites' figures, with an interval from the sites' own.

    ``value = sum_k n_k v_k / n``; the sites are independent, so half-widths add in quadrature:
    ``h = sqrt(sum_k (n_k h_k / n)^2)`` on either side. Figures without a value are left out.
    """
    known = [figure for figure in figures if figure.value is not None and figure.n > 0]
    n = sum(figure.n for figure in known)
    if not n:
        return Figure(value=None, n=0)
    value = math.fsum(figure.n * figure.value for figure in known if figure.value is not None) / n
    if any(figure.low is None or figure.high is None for figure in known):
        return Figure(value=value, n=n)
    low, high = (
        math.sqrt(math.fsum((figure.n * ((bound or 0.0) - (figure.value or 0.0)) / n) ** 2 for figure, bound in pairs))
        for pairs in ([(f, f.low) for f in known], [(f, f.high) for f in known])
    )
    return Figure(value=value, n=n, low=value - low, high=value + high)


def pooled_by_name(parts: Iterable[dict[str, Figure]]) -> dict[str, Figure]:
    """Every figure that any part has, pooled over those that have it, in the order of the names."""
    figures = list(parts)
    names = sorted({name for part in figures for name in part})
    return {name: pooled_figure(part[name] for part in figures if name in part) for name in names}
