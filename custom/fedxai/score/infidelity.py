# SPDX-License-Identifier: Apache-2.0
"""Infidelity: how much of what hiding a part does to the logit a map fails to foretell."""

import torch
from torch import Tensor

from fedxai.score.asked import Asked
from fedxai.score.curves import random_like
from fedxai.score.imputation import impute
from fedxai.score.model_score import MODEL_SCORES, ModelScore

DRAWS = 16
SIDE = 1 / 3  # of each axis


@MODEL_SCORES.register
class Infidelity(ModelScore):
    """``E[(b I.S - (f(x) - f(x - I)))^2] / E[(f(x) - f(x - I))^2]``, f the explained logit, I what is taken away.

    I is the difference between the image and itself with a box, a third of each axis long, filled from its
    surroundings (:func:`~fedxai.score.imputation.impute`); 16 boxes at random, the same for all cases and maps.
    Channels of I are averaged, those of S summed. ``b = E[I.S (f(x) - f(x - I))] / E[(I.S)^2]`` gives S its best
    scale, because methods have other units, and dividing by the mean square fall makes logits of all sizes comparable:
    in [0, 1], 0 for a map that foretells every fall, 1 for one that foretells none. Undefined where no box changes the
    logit. Chance: that of a random map as smooth as the method's.

    Source: Yeh et al. 2019, arXiv:1901.09392, with the square removal of its section 3.
    """

    name = "infidelity"
    direction = "lower"
    range = (0.0, 1.0)

    def value(self, asked: Asked) -> Tensor:
        """See the class."""
        return _infidelities(asked)[0]

    def chance(self, asked: Asked) -> Tensor:
        """See the class."""
        return _infidelities(asked)[1]

    def centred(self, asked: Asked) -> Tensor:
        """See the class."""
        return _infidelities(asked)[2]


def _infidelities(asked: Asked) -> Tensor:
    """Of the method's maps, of random and of centred ones ``(3, B)``, over the same boxes; made once."""
    return asked.once("infidelities", lambda: _measured(asked))


def _measured(asked: Asked) -> Tensor:
    maps = torch.stack([asked.relevance, random_like(asked.relevance, asked.white), asked.gaussian])
    whole, generator = asked.logit(asked.inputs), asked.generator()
    foretold, fell = [], []
    for draw in range(DRAWS):
        taken = asked.inputs - impute(asked.inputs, _box(asked, generator), asked.noise(draw + 1))
        foretold.append((maps * taken.double().mean(dim=1)).flatten(2).sum(dim=2))
        fell.append(whole - asked.logit(asked.inputs - taken))
    told, fall = torch.stack(foretold), torch.stack(fell)[:, None]
    power = (told**2).mean(dim=0)
    scale = ((told * fall).mean(dim=0) / power).where(power > 0, 0.0)
    missed = ((scale * told - fall) ** 2).mean(dim=0)
    return missed / (fall**2).mean(dim=0)  # 0 / 0 where nothing falls


def _box(asked: Asked, generator: torch.Generator) -> Tensor:
    """A box somewhere on the grid, ``(1, 1, *spatial)``, boolean."""
    hidden = torch.zeros(1, 1, *asked.grid, dtype=torch.bool)
    sides = [max(1, round(SIDE * length)) for length in asked.grid]
    starts = [
        int(torch.randint(length - side + 1, (), generator=generator))
        for length, side in zip(asked.grid, sides, strict=True)
    ]
    hidden[(0, 0, *(slice(start, start + side) for start, side in zip(starts, sides, strict=True)))] = True
    return hidden.to(asked.inputs.device)
