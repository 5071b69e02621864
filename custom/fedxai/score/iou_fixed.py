# SPDX-License-Identifier: Apache-2.0
"""IoU at a fixed quantile: how well the most relevant twentieth of the image outlines the region."""

import torch
from torch import Tensor

from fedxai.errors import ExplanationError
from fedxai.score.score import SCORES, Score, Seen, overlap_of_top


@SCORES.register
class IouFixed(Score):
    """``|T and R_j| / |T or R_j|``, T the ``share`` of all voxels with the largest |S_i| (at least one voxel).

    The cut knows nothing of the region, as at the point of care. (The cut at ``|R_j|`` voxels, r being the relevance
    rank accuracy, is ``r / (2 - r)``: nothing new.) Voxels that tie for the last places share them. A region of
    another size than T keeps even a perfect map below ``min(|R|, |T|) / max(|R|, |T|)``. Chance, for a uniform map:
    ``ka / (k + aN - ka)`` with k = |T|, N voxels and the region's area fraction a.

    Args:
        share: of the voxels, above 0 and at most 1.

    Raises:
        ExplanationError: when the share is outside its range.

    Source: Choe et al. 2020, arXiv:2001.07437.
    """

    name = "iou_fixed"
    direction = "higher"
    range = (0.0, 1.0)

    def __init__(self, *, share: float = 0.05) -> None:
        if not 0 < share <= 1:
            raise ExplanationError(f"share must be above 0 and at most 1, got {share}")
        self.share = share

    def value(self, seen: Seen) -> Tensor:
        """See the class."""
        cases, voxels = seen.size.shape
        count = torch.full((cases,), max(1, round(self.share * voxels)), device=seen.size.device)
        both = overlap_of_top(seen, count)
        return both / (count + seen.region.sum(dim=1) - both)
