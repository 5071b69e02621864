# SPDX-License-Identifier: Apache-2.0
"""IoU at the best quantile: how well the map, cut where it fits best, outlines the region."""

import torch
from torch import Tensor

from fedxai.score.score import SCORES, Score, Seen


@SCORES.register
class IouBest(Score):
    """``max_t |T_t and R_j| / |T_t or R_j|``, ``T_t`` the voxels with ``|S_i| >= t``, t over all values of the map.

    Exact over all quantiles, not over a list of them. The best cut is chosen with the region at hand, so this is
    an upper bound of what a fixed rule reaches. Chance: the region's area fraction a, which a uniform map scores;
    so does any map at worst, whose lowest cut is the whole image. Independent voxels score a little above a.

    Source: the oracle threshold of weakly supervised localisation, Choe et al. 2020, arXiv:2001.07437.
    """

    name = "iou_best"
    direction = "higher"
    range = (0.0, 1.0)

    def value(self, seen: Seen) -> Tensor:
        """See the class."""
        values, order = seen.ranked
        taken = seen.region.gather(1, order).double().cumsum(dim=1)
        counts = taken.new_ones(taken.shape).cumsum(dim=1)
        iou = taken / (counts + seen.region.sum(dim=1, keepdim=True) - taken)
        # a cut takes voxels that tie together: all of them or none
        last_of_tie = torch.ones_like(values, dtype=torch.bool)
        last_of_tie[:, :-1] = values[:, :-1] != values[:, 1:]
        return iou.where(last_of_tie, 0.0).amax(dim=1)
