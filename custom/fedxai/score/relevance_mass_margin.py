# SPDX-License-Identifier: Apache-2.0
"""Relevance mass with a margin: the share of all relevance in the region or within some millimetres of it."""

from torch import Tensor

from fedxai.errors import ExplanationError
from fedxai.score.regions import MARGIN
from fedxai.score.score import SCORES, Score, Seen, share_inside


@SCORES.register
class RelevanceMassMargin(Score):
    """``sum_{i in R+} |S_i| / sum_i |S_i|``, R+ the voxels at most ``margin`` mm from a voxel of R.

    A lesion's rim is evidence too, and readers draw it a little too small or too large. Distances are Euclidean
    between voxel centres, in mm by the batch's spacing; where that is unknown a voxel counts as 1 mm, so that the
    margin is in voxels. Chance: the area fraction of R+, which a uniform map scores exactly.

    Args:
        margin: in mm, at least 0.

    Raises:
        ExplanationError: when the margin is negative.
    """

    name = "relevance_mass_margin"
    direction = "higher"
    range = (0.0, 1.0)

    def __init__(self, *, margin: float = MARGIN) -> None:
        if not margin >= 0:
            raise ExplanationError(f"margin must be at least 0 mm, got {margin}")
        self.margin = margin

    def value(self, seen: Seen) -> Tensor:
        """See the class."""
        return share_inside(seen.size, seen.regions.grown(self.margin))
