# SPDX-License-Identifier: Apache-2.0
"""Pointing game: whether the most relevant voxel lies in the region."""

from torch import Tensor

from fedxai.score.score import SCORES, Score, Seen


@SCORES.register
class PointingGame(Score):
    """``[argmax_i |S_i| in R_j]``: 1 for a hit, 0 for a miss, without tolerance around the region.

    S is summed over channels first. Where several voxels share the maximum, the score is the share of them
    that lies in the region: the mean over which of them one picks. Chance: the region's area fraction, which
    a uniform map (all voxels tied) scores exactly.

    Source: Zhang et al. 2018, arXiv:1608.00507.
    """

    name = "pointing_game"
    direction = "higher"
    range = (0.0, 1.0)

    def value(self, seen: Seen) -> Tensor:
        """See the class."""
        values = seen.size
        highest = values == values.amax(dim=1, keepdim=True)
        return (highest & seen.region).sum(dim=1).double() / highest.sum(dim=1)
