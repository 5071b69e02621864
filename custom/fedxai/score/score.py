# SPDX-License-Identifier: Apache-2.0
"""What every score is, and the registry that finds it by name."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from fedxai.explain import Registry


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A batch of maps beside the clinically relevant regions, voxels in one row a case.

    ``relevance`` is summed over the map's channels, with its sign: the relevance of a voxel is the sum of
    what its channels contribute.
    """

    relevance: Tensor  # (B, voxels), float64
    region: Tensor  # (B, voxels), bool


class Score(ABC):
    """A number for each map, NaN where it does not exist.

    ``direction``: which way is better; ``range``: the values it can take.
    """

    name: ClassVar[str]
    direction: ClassVar[Literal["higher", "lower"]]
    range: ClassVar[tuple[float, float]]

    @abstractmethod
    def value(self, seen: Seen) -> Tensor:
        """The score of each case ``(B,)``; NaN where it is undefined.

        A case with an empty region, or a map of zeros or not finite, is undefined whatever this returns.
        """

    @abstractmethod
    def chance(self, region: Tensor) -> Tensor:
        """The score ``(B,)`` of a map that knows nothing, for regions ``(B, voxels)``."""


def area_fraction(region: Tensor) -> Tensor:
    """``a = |R| / N``: the share of voxels in the region, which a uniform map scores."""
    return region.double().mean(dim=1)


def share_inside(relevance: Tensor, region: Tensor) -> Tensor:
    """``sum_{i in R} s_i / sum_i s_i`` of each case; NaN where the denominator is 0."""
    total = relevance.sum(dim=1)
    inside = (relevance * region).sum(dim=1)
    return (inside / total).where(total != 0, float("nan"))


SCORES: Registry[Score] = Registry(kind="score", base=Score)
