# SPDX-License-Identifier: Apache-2.0
"""Agreement between sites: whether the shared model looks, for one class, at the same kinds of places everywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from fedxai.combine.intervals import NORMAL
from fedxai.records import PLACE_KINDS, Figure, PlaceSummary, SiteAgreement, place_kind

DIRECTION = "higher"
RANGE = (0.0, 1.0)
_LEVEL = 0.05  # of all rows together
_FURTHEST = 2  # times that the places over the cases with a region may be scaled
_WITH_REGION = np.isin(PLACE_KINDS, ("region", "ring", "rest"))  # over the cases with a region


@dataclass(frozen=True, kw_only=True)
class _Profile:
    """The shares of relevance by kind of place, with half the width of their 95 % intervals, over n cases."""

    shares: NDArray[np.float64]
    halves: NDArray[np.float64]
    uniform: NDArray[np.float64]  # the same shares of a map that knows nothing
    n: int


def site_agreements(sites: Mapping[str, Sequence[PlaceSummary]]) -> list[SiteAgreement]:
    """How far each site's profile of places is from that of the other sites together, class by class.

    With p_g the share of |relevance| in the places of kind g (region, ring, corners, border, rest) at a site, those
    over the cases with a region (region, ring, rest) scaled so that they add up to 1 with the others, and q_g the
    n-weighted mean of the other sites',

    ``agreement = 1 - 1/2 sum_g |p_g - q_g|``,

    1 less the total variation distance: in [0, 1], higher is better, 1 for the same profile. The shares of a case move
    together, for relevance that leaves a region lies elsewhere, so only sites are taken to be independent: with h_g
    half the width of the 95 % interval of ``p_g - q_g``, for which those of the places of a kind are added up, the
    interval is ``+- sum_g h_g / 2``. ``alike`` lies as far below 1, with 5 % shared out over all rows (Bonferroni): a
    run of sites that all look the same way has any site below it in at most 5 % of cases. ``chance`` is the agreement
    of uniform maps, which differ by the sites' regions only; so is about that of a centred Gaussian, and of any map
    that ignores the image: agreement is worth something beside an E above chance, never alone.

    Args:
        sites: each site's summaries of one method's places, one a class.

    Returns:
        By site and class, where two sites or more report all their shares with intervals.

    Source: agreement of explanations as in Krishna et al. 2022, arXiv:2202.01602, here of sites instead of methods.
    """
    profiles = {
        (site, summary.class_index): profile
        for site, summaries in sites.items()
        for summary in summaries
        if (profile := _profile(summary)) is not None
    }
    compared = []
    for (site, index), profile in sorted(profiles.items()):
        others = [other for (name, label), other in profiles.items() if label == index and name != site]
        if others:
            compared.append((site, index, profile, _together(others)))
    strict = float(norm.isf(_LEVEL / 2 / max(1, len(compared)))) / NORMAL
    return [_compared(*row, strict=strict) for row in compared]


def _compared(site: str, index: int, one: _Profile, others: _Profile, *, strict: float) -> SiteAgreement:
    value = _agreement(one.shares, others.shares)
    half = float(np.hypot(one.halves, others.halves).sum()) / 2
    return SiteAgreement(
        site=site,
        class_index=index,
        agreement=Figure(value=value, n=one.n, low=max(0.0, value - half), high=min(1.0, value + half)),
        alike=max(0.0, 1 - strict * half),
        chance=_agreement(one.uniform, others.uniform),
    )


def _agreement(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return max(0.0, 1 - float(np.abs(one - other).sum()) / 2)


def _profile(summary: PlaceSummary) -> _Profile | None:
    """None where a share, or its interval, is held back or undefined: a profile with a gap is no profile.

    Nor are two halves that do not fit: where the cases with a region look elsewhere than all cases do.
    """
    shares, halves, uniform = (np.zeros(len(PLACE_KINDS)) for _ in range(3))
    for place, figure in summary.shares.items():
        level = summary.chance[place].value if place in summary.chance else None
        if figure.value is None or figure.high is None or level is None:
            return None
        kind = PLACE_KINDS.index(place_kind(place))
        shares[kind] += figure.value
        halves[kind] += figure.high - figure.value
        uniform[kind] += level
    scale, of_uniform = _to_one(shares), _to_one(uniform)
    if not summary.n or not 1 / _FURTHEST <= scale.min() <= scale.max() <= _FURTHEST:
        return None
    return _Profile(shares=shares * scale, halves=halves * scale, uniform=uniform * of_uniform, n=summary.n)


def _to_one(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """By kind, what brings the places over the cases with a region to what those over all cases leave of 1."""
    left, there = 1 - shares[~_WITH_REGION].sum(), shares[_WITH_REGION].sum()
    return np.where(_WITH_REGION, left / there if there else np.inf, 1)


def _together(profiles: Sequence[_Profile]) -> _Profile:
    weights = np.array([profile.n for profile in profiles], dtype=np.float64)[:, None]
    weights /= weights.sum()
    return _Profile(
        shares=(weights * [profile.shares for profile in profiles]).sum(axis=0),
        halves=np.sqrt(((weights * [profile.halves for profile in profiles]) ** 2).sum(axis=0)),
        uniform=(weights * [profile.uniform for profile in profiles]).sum(axis=0),
        n=sum(profile.n for profile in profiles),
    )
