# SPDX-License-Identifier: Apache-2.0
"""Randomisation: how alike a map stays when the network forgets what it has learned; a cascade of three depths."""

from typing import ClassVar

from torch import Tensor

from fedxai.score.asked import Asked
from fedxai.score.model_score import MODEL_SCORES, ModelScore, level
from fedxai.score.randomised import randomised
from fedxai.score.similarity import rank_agreement


def randomised_map(asked: Asked, share: float) -> Tensor:
    """The map of the network with that share of its layers drawn anew, made once."""

    def explain() -> Tensor:
        return asked.explain(asked.inputs, network=randomised(asked.network, share, seed=asked.seed))

    return asked.once(("randomised", share), explain)


class _Depth(ModelScore):
    """Rank agreement of the map with that of a randomised network, from the output down to some depth."""

    direction = "lower"
    range = (-1.0, 1.0)
    share: ClassVar[float]  # of the layers, from the output down

    def value(self, asked: Asked) -> Tensor:
        """See the class."""
        return rank_agreement(asked.relevance, randomised_map(asked, self.share))

    def chance(self, asked: Asked) -> Tensor:
        """See the class."""
        return level(asked, 0.0)

    def centred(self, asked: Asked) -> Tensor:
        """See the class."""
        return level(asked, 1.0)


@MODEL_SCORES.register
class Randomisation(_Depth):
    """Rank agreement between the map and that of the network with all weights drawn anew, for the same class.

    In [-1, 1], see :func:`~fedxai.score.similarity.rank_agreement`; an explanation of what was learned must lose
    itself. Maps are compared as they are, with their signs: on wide ReLU networks this tells guided backpropagation
    (.66 to .85 measured) from gradients (.01 to .15) and gradient x input (.00). Chance: 0. A centred Gaussian never
    changes: 1.

    Source: Adebayo et al. 2018, arXiv:1810.03292.
    """

    name = "randomisation"
    share = 1.0


@MODEL_SCORES.register
class RandomisationHalf(_Depth):
    """As :class:`Randomisation`, with the half of the layers nearest the output drawn anew."""

    name = "randomisation_half"
    share = 0.5


@MODEL_SCORES.register
class RandomisationOutput(_Depth):
    """As :class:`Randomisation`, with the output layer drawn anew."""

    name = "randomisation_output"
    share = 0.0


@MODEL_SCORES.register
class RandomisationMagnitude(_Depth):
    """As :class:`Randomisation`, for |S|, which E reads.

    Reported, not judged: where a method multiplies by the image, as gradient x input does, the image's own bright
    and dark places stay (about .5 measured), whatever the network has learned.
    """

    name = "randomisation_magnitude"
    share = 1.0

    def value(self, asked: Asked) -> Tensor:
        """See the class."""
        return rank_agreement(asked.relevance.abs(), randomised_map(asked, self.share).abs())
