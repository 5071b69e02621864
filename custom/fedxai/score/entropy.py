# SPDX-License-Identifier: Apache-2.0
"""Entropy of a map: over how many voxels the relevance is spread."""

import math

import torch
from torch import Tensor

from fedxai.score.score import SCORES, Score, Seen

# (E[z ln z] / E[z] - ln E[z]) of z = |normal|
_LOST = 0.284


@SCORES.register
class Entropy(Score):
    """``H = -sum_i p_i ln p_i / ln N``, ``p_i = |S_i| / sum_i |S_i|``, N voxels.

    1 where all voxels are equal, 0 where one holds everything; undefined for a single voxel. A complexity, no
    quality. Divided by its largest value, so that images of other sizes compare. Chance: ``1 - 0.284 / ln N``, that of
    independent normal voxels.

    Source: Bhatt et al. 2020, arXiv:2005.00631 (complexity).
    """

    name = "entropy"
    direction = "lower"
    range = (0.0, 1.0)
    needs_region = False

    def value(self, seen: Seen) -> Tensor:
        """See the class."""
        voxels = seen.size.shape[1]
        if voxels == 1:
            return torch.full_like(seen.size[:, 0], float("nan"))
        shares = seen.size / seen.size.sum(dim=1, keepdim=True)
        return (torch.special.entr(shares).sum(dim=1) / math.log(voxels)).clamp(0, 1)

    def chance(self, uniform: Seen) -> Tensor:
        """See the class."""
        voxels = uniform.size.shape[1]
        return self.value(uniform) * (1 - _LOST / math.log(max(voxels, 2)))
