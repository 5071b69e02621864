# SPDX-License-Identifier: Apache-2.0
"""Relevance rank accuracy: how many of the most relevant voxels lie in the region."""

from torch import Tensor

from fedxai.score.score import SCORES, Score, Seen, overlap_of_top


@SCORES.register
class RelevanceRank(Score):
    """``|T and R_j| / |R_j|``, T the ``|R_j|`` voxels of largest |S_i|.

    Unlike relevance mass it asks for the order of the voxels alone: a few huge values do not decide it. Voxels
    that tie for the last places share them. Chance: the region's area fraction, which a uniform map scores
    exactly and independent voxels score on average.

    Source: Arras et al. 2022, arXiv:2003.07258.
    """

    name = "relevance_rank"
    direction = "higher"
    range = (0.0, 1.0)

    def value(self, seen: Seen) -> Tensor:
        """See the class."""
        size = seen.region.sum(dim=1).clamp(min=1)
        return overlap_of_top(seen, size) / size
