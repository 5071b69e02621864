# SPDX-License-Identifier: Apache-2.0
"""Gini index of a map: how few voxels hold the relevance."""

import torch
from torch import Tensor

from fedxai.score.score import SCORES, Score, Seen


@SCORES.register
class Gini(Score):
    """``G = sum_i (2i - N - 1) s_i / (N sum_i s_i)``, ``s_1 <= ... <= s_N`` the sorted |S_i|.

    0 where all voxels are equal, ``1 - 1/N`` where one holds everything. A sparse map is easier to read, not more
    right: a complexity, no quality. Chance: ``sqrt(2) - 1 = 0.414``, that of independent normal voxels.

    Source: Chalasani et al. 2020, arXiv:1810.06583 (sparseness).
    """

    name = "gini"
    direction = "higher"
    range = (0.0, 1.0)
    needs_region = False

    def value(self, seen: Seen) -> Tensor:
        """See the class."""
        values, _ = seen.ranked
        voxels = values.shape[1]
        weights = torch.arange(voxels - 1, -voxels, -2, dtype=values.dtype, device=values.device)
        return ((values * weights).sum(dim=1) / (voxels * values.sum(dim=1))).clamp(0, 1)

    def chance(self, uniform: Seen) -> Tensor:
        """See the class."""
        return torch.full_like(uniform.size[:, 0], 2**0.5 - 1)
