# SPDX-License-Identifier: Apache-2.0
"""What every score of a map is, and the registry that finds it by name."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from torch import Tensor

from fedxai.explain import Registry
from fedxai.score.regions import Regions

Direction = Literal["higher", "lower"]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A batch of maps beside the clinically relevant regions, voxels in one row a case.

    ``relevance`` is summed over the map's channels, with its sign: the relevance of a voxel is the sum of
    what its channels contribute.
    """

    relevance: Tensor  # (B, voxels), float64
    regions: Regions

    @property
    def region(self) -> Tensor:
        """The regions ``(B, voxels)``, boolean."""
        return self.regions.inside

    @cached_property
    def size(self) -> Tensor:
        """``|S_i|``, ``(B, voxels)``."""
        return self.relevance.abs()

    @cached_property
    def ranked(self) -> tuple[Tensor, Tensor]:
        """``|S_i|`` from the largest to the smallest, and the voxels in that order; each ``(B, voxels)``."""
        values, order = self.size.sort(dim=1, descending=True, stable=True)
        return values, order


class Score(ABC):
    """A number for each map, NaN where it does not exist.

    ``direction``: which way is better; ``range``: the values it can take; ``needs_region``: whether cases
    without a region are left out. What a map reaches that knows nothing, and what one reaches that knows only where
    images have their middle (a centred Gaussian), is computed for each region by
    :func:`~fedxai.score.one_map.chance` and :func:`~fedxai.score.one_map.centred`.
    """

    name: ClassVar[str]
    direction: ClassVar[Direction]
    range: ClassVar[tuple[float, float]]
    needs_region: ClassVar[bool] = True

    @abstractmethod
    def value(self, seen: Seen) -> Tensor:
        """The score of each case ``(B,)``; NaN where it is undefined.

        A map of zeros or not finite is undefined whatever this returns, and so is a case with an empty region
        where the score needs one.
        """

    def chance(self, uniform: Seen) -> Tensor:
        """The score of a random map ``(B,)``: that of the uniform one, unless a score says otherwise."""
        return self.value(uniform)


def area_fraction(region: Tensor) -> Tensor:
    """``a = |R| / N``: the share of voxels in the region, which a uniform map scores."""
    return region.double().mean(dim=1)


def share_inside(relevance: Tensor, region: Tensor) -> Tensor:
    """``sum_{i in R} s_i / sum_i s_i`` of each case; NaN where the denominator is 0."""
    total = relevance.sum(dim=1)
    inside = (relevance * region).sum(dim=1)
    return (inside / total).where(total != 0, float("nan"))


def overlap_of_top(seen: Seen, count: Tensor) -> Tensor:
    """How many of the ``count`` (B,) voxels of largest ``|S_i|`` lie in the region, ``(B,)``.

    Voxels that tie for the last places share them: the mean over which of them one picks.
    """
    values, _ = seen.ranked
    last = values.gather(1, count[:, None] - 1)
    above, tied = seen.size > last, seen.size == last
    places = count - above.sum(dim=1)
    share = (tied & seen.region).sum(dim=1).double() / tied.sum(dim=1)
    return (above & seen.region).sum(dim=1) + places * share


SCORES: Registry[Score] = Registry(kind="score", base=Score)
