# SPDX-License-Identifier: Apache-2.0
"""Noise agreement: whether a map stays the same when the image changes by what nobody can see."""

import torch
from torch import Tensor

from fedxai.score.asked import Asked
from fedxai.score.model_score import MODEL_SCORES, ModelScore, level
from fedxai.score.similarity import rank_agreement

STRENGTH = 0.02
DRAWS = 3


def noisy_maps(asked: Asked) -> list[Tensor]:
    """Maps of three noisy images: normal noise of a fiftieth of the image's standard deviation; made once."""
    space = tuple(range(1, asked.inputs.ndim))
    spread = asked.inputs.std(dim=space, keepdim=True)
    return asked.once(
        "noisy", lambda: [asked.explain(asked.inputs + STRENGTH * spread * asked.noise(d + 1)) for d in range(DRAWS)]
    )


@MODEL_SCORES.register
class NoiseAgreement(ModelScore):
    """The lowest rank agreement of three draws between the map and that of the image with a little noise.

    In [-1, 1], see :func:`~fedxai.score.similarity.rank_agreement`. A constant map has no order that could stay: 0, as
    for unrelated maps. Chance: 0, for a map drawn anew each time. A centred Gaussian never changes: 1.

    Source: the worst case of Yeh et al. 2019, arXiv:1901.09392, with the rank correlation of Ghorbani et al. 2019,
    arXiv:1710.10547.
    """

    name = "noise_agreement"
    direction = "higher"
    range = (-1.0, 1.0)

    def value(self, asked: Asked) -> Tensor:
        """See the class."""
        flat = asked.relevance.flatten(1)
        agreements = [rank_agreement(asked.relevance, noisy) for noisy in noisy_maps(asked)]
        return torch.stack(agreements).amin(dim=0).where(flat.amax(dim=1) > flat.amin(dim=1), 0.0)

    def chance(self, asked: Asked) -> Tensor:
        """See the class."""
        return level(asked, 0.0)

    def centred(self, asked: Asked) -> Tensor:
        """See the class."""
        return level(asked, 1.0)
