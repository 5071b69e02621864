# SPDX-License-Identifier: Apache-2.0
"""Insertion: how fast the class is found when the most relevant voxels are shown."""

from torch import Tensor

from fedxai.score.asked import Asked
from fedxai.score.curves import centred_curves, own_curves, random_curves
from fedxai.score.model_score import MODEL_SCORES, ModelScore


@MODEL_SCORES.register
class Insertion(ModelScore):
    """Area under p(class) while voxels are shown, most relevant first: see :func:`~fedxai.score.curves.curves`.

    Chance: the area for a random map as smooth as the method's. Source: Petsiuk et al. 2018, arXiv:1806.07421.
    """

    name = "insertion"
    direction = "higher"
    range = (0.0, 1.0)

    def value(self, asked: Asked) -> Tensor:
        """See the class."""
        return own_curves(asked).insertion

    def chance(self, asked: Asked) -> Tensor:
        """See the class."""
        return random_curves(asked).insertion

    def centred(self, asked: Asked) -> Tensor:
        """See the class."""
        return centred_curves(asked).insertion
