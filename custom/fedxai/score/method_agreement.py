# SPDX-License-Identifier: Apache-2.0
"""Method agreement: whether other methods mark the same places."""

import torch
from torch import Tensor

from fedxai.score.asked import Asked
from fedxai.score.model_score import MODEL_SCORES, ModelScore, level
from fedxai.score.similarity import rank_agreement


@MODEL_SCORES.register
class MethodAgreement(ModelScore):
    """The mean rank agreement of ``|S|`` with ``|S|`` of every other method asked for, in [-1, 1].

    Magnitudes, because saliency has no sign. Other maps without a value (all zeros, not finite) are left out; undefined
    where none remains. Agreement is no proof: methods that share a factor agree. Chance: 0. The centred Gaussian's
    level is its own agreement with the other methods.

    Source: Krishna et al. 2022, arXiv:2202.01602 (the disagreement problem).
    """

    name = "method_agreement"
    direction = "higher"
    range = (-1.0, 1.0)

    def value(self, asked: Asked) -> Tensor:
        """See the class."""
        return _with_others(asked, asked.relevance)

    def chance(self, asked: Asked) -> Tensor:
        """See the class."""
        return level(asked, 0.0)

    def centred(self, asked: Asked) -> Tensor:
        """See the class."""
        return _with_others(asked, asked.gaussian)


def _with_others(asked: Asked, relevance: Tensor) -> Tensor:
    none = level(asked, float("nan"))
    agreements = [
        rank_agreement(relevance.abs(), other.abs()).where(other.flatten(1).any(dim=1), float("nan"))
        for other in asked.others.values()
    ]
    return torch.stack([none, *agreements]).nanmean(dim=0)
