# SPDX-License-Identifier: Apache-2.0
"""Faithfulness gain over the mirrored map: how much better a map orders an image than a map of another place."""

from torch import Tensor

from fedxai.score.asked import Asked
from fedxai.score.curves import mirrored_curves, own_curves
from fedxai.score.model_score import MODEL_SCORES, ModelScore, level


@MODEL_SCORES.register
class GainOverMirrored(ModelScore):
    """``gap(S) - gap(mirrored S)`` with ``gap = insertion - deletion``, paired within a case.

    The mirrored map is S turned about the middle of the image: the same values, smoothness and distance from the
    middle, on the wrong side. It rules out that the middle of an image matters whatever the map: a centred Gaussian,
    which is its own mirror image, gains exactly 0, while over a random map it gained .29 (measured on the phantom).
    Strict for a lesion in the middle. Chance: 0.
    """

    name = "gain_over_mirrored"
    direction = "higher"
    range = (-2.0, 2.0)

    def value(self, asked: Asked) -> Tensor:
        """See the class."""
        return own_curves(asked).gap - mirrored_curves(asked).gap

    def chance(self, asked: Asked) -> Tensor:
        """See the class."""
        return level(asked, 0.0)

    def centred(self, asked: Asked) -> Tensor:
        """See the class."""
        return level(asked, 0.0)
