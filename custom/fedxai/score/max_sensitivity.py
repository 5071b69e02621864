# SPDX-License-Identifier: Apache-2.0
"""Max-sensitivity: how far a map moves at most when the image changes by what nobody can see."""

import torch
from torch import Tensor

from fedxai.score.asked import Asked
from fedxai.score.model_score import MODEL_SCORES, ModelScore, level
from fedxai.score.noise_agreement import noisy_maps


@MODEL_SCORES.register
class MaxSensitivity(ModelScore):
    """``max_d ||S(x + d) - S(x)|| / ||S(x)||``, d the noise of :func:`~fedxai.score.noise_agreement.noisy_maps`.

    A relative change, which the paper leaves absolute: maps of other methods have other units. Chance: the square root
    of 2, for signed maps drawn anew each time. A centred Gaussian never moves: 0. So does a constant map: read it
    beside the noise agreement.

    Source: Yeh et al. 2019, arXiv:1901.09392.
    """

    name = "max_sensitivity"
    direction = "lower"
    range = (0.0, float("inf"))

    def value(self, asked: Asked) -> Tensor:
        """See the class."""
        own = asked.relevance.flatten(1)
        moved = torch.stack([(noisy.flatten(1) - own).norm(dim=1) for noisy in noisy_maps(asked)])
        return moved.amax(dim=0) / own.norm(dim=1)

    def chance(self, asked: Asked) -> Tensor:
        """See the class."""
        return level(asked, 2**0.5)

    def centred(self, asked: Asked) -> Tensor:
        """See the class."""
        return level(asked, 0.0)
