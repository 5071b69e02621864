# SPDX-License-Identifier: Apache-2.0
"""Positive relevance mass: the share of the relevance in favour of the class that lies in the region."""

from torch import Tensor

from fedxai.score.score import SCORES, Score, Seen, share_inside


@SCORES.register
class RelevanceMassPositive(Score):
    """``E_j = sum_{i in R_j} max(S_i, 0) / sum_i max(S_i, 0)``: Eq. 5 with the positive part of S.

    S is summed over channels first. Undefined where no voxel has positive relevance. Chance: the region's
    area fraction.

    Source: Arras et al. 2022, arXiv:2003.07258.
    """

    name = "relevance_mass_positive"
    direction = "higher"
    range = (0.0, 1.0)

    def value(self, seen: Seen) -> Tensor:
        """See the class."""
        return share_inside(seen.relevance.clamp(min=0), seen.region)
