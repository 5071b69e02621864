# SPDX-License-Identifier: Apache-2.0
"""Signed relevance mass: Eq. 5 to the letter, undefined where positive and negative relevance cancel."""

from torch import Tensor

from fedxai.score.score import SCORES, Score, Seen, share_inside

CANCELLED = 1e-3


@SCORES.register
class RelevanceMassSigned(Score):
    """``E_j = sum_{i in R_j} S_i / sum_i S_i``: Eq. 5 to the letter.

    S is summed over channels first. Where relevance cancels, the quotient is noise; the rule, which does not
    depend on the map's scale: undefined where ``|sum_i S_i| <= 0.001 * sum_i |S_i|``. What remains lies in
    [-1000, 1000], so its mean is read beside the other two readings. Chance: the region's area fraction.
    """

    name = "relevance_mass_signed"
    direction = "higher"
    range = (-1 / CANCELLED, 1 / CANCELLED)

    def value(self, seen: Seen) -> Tensor:
        """See the class."""
        kept = seen.relevance.sum(dim=1).abs() > CANCELLED * seen.size.sum(dim=1)
        return share_inside(seen.relevance, seen.region).where(kept, float("nan"))
