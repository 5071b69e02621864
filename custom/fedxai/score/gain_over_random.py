# SPDX-License-Identifier: Apache-2.0
"""Faithfulness gain over a random map: how much better a map orders an image than chance as smooth as it."""

from torch import Tensor

from fedxai.score.asked import Asked
from fedxai.score.curves import centred_curves, own_curves, random_curves
from fedxai.score.model_score import MODEL_SCORES, ModelScore, level


@MODEL_SCORES.register
class GainOverRandom(ModelScore):
    """``gap(S) - gap(random)`` with ``gap = insertion - deletion``, paired within a case.

    random has the power spectrum of S with random phases: as smooth, without place. Chance: 0. The centred
    Gaussian's level is its own gap over that of the same random map.
    """

    name = "gain_over_random"
    direction = "higher"
    range = (-2.0, 2.0)

    def value(self, asked: Asked) -> Tensor:
        """See the class."""
        return own_curves(asked).gap - random_curves(asked).gap

    def chance(self, asked: Asked) -> Tensor:
        """See the class."""
        return level(asked, 0.0)

    def centred(self, asked: Asked) -> Tensor:
        """See the class."""
        return centred_curves(asked).gap - random_curves(asked).gap
