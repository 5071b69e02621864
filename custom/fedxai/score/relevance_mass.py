# SPDX-License-Identifier: Apache-2.0
"""Relevance mass: the share of all relevance, whatever its sign, that lies in the region; the default E."""

from torch import Tensor

from fedxai.score.score import SCORES, Score, Seen, share_inside


@SCORES.register
class RelevanceMass(Score):
    """``E_j = sum_{i in R_j} |S_i| / sum_i |S_i|``: Eq. 5 with |S|, the relevance mass accuracy.

    S is summed over channels first: ``|S_i| = |sum_c S_ci|``. Undefined for a map of zeros. Chance: the
    region's area fraction, which a uniform map scores exactly.

    Source: Arras et al. 2022, arXiv:2003.07258.
    """

    name = "relevance_mass"
    direction = "higher"
    range = (0.0, 1.0)

    def value(self, seen: Seen) -> Tensor:
        """See the class."""
        return share_inside(seen.size, seen.region)
