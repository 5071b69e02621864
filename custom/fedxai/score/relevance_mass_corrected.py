# SPDX-License-Identifier: Apache-2.0
"""Relevance mass corrected for chance: 0 for a map that knows nothing, 1 for all relevance in the region."""

from torch import Tensor

from fedxai.score.score import SCORES, Score, Seen, area_fraction, share_inside


@SCORES.register
class RelevanceMassCorrected(Score):
    """``(E - a) / (1 - a)``: relevance mass E against the region's area fraction a, so that sites compare.

    Below 0 where relevance avoids the region, at least ``-a / (1 - a)``. Undefined where the region is the whole
    image. Chance: 0 for a uniform map, and on average for voxels drawn independently.

    Source: the correction for chance of Cohen 1960, Educational and Psychological Measurement 20 (1).
    """

    name = "relevance_mass_corrected"
    direction = "higher"
    range = (float("-inf"), 1.0)

    def value(self, seen: Seen) -> Tensor:
        """See the class."""
        area = area_fraction(seen.region)
        return ((share_inside(seen.size, seen.region) - area) / (1 - area)).where(area < 1, float("nan"))
