# SPDX-License-Identifier: Apache-2.0
"""What every score is that asks the network again, and the registry that finds it by name."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from fedxai.explain import Registry
from fedxai.score.asked import Asked
from fedxai.score.score import Direction


class ModelScore(ABC):
    """A number for each case that says whether a map depends on the network and on the image as it should.

    Costly: many passes a case, so it is made for few cases. ``direction`` and ``range`` as in a
    :class:`~fedxai.score.Score`; no region is needed.
    """

    name: ClassVar[str]
    direction: ClassVar[Direction]
    range: ClassVar[tuple[float, float]]

    @abstractmethod
    def value(self, asked: Asked) -> Tensor:
        """The score of each case ``(B,)``; NaN where it is undefined.

        A map of zeros or not finite is undefined whatever this returns.
        """

    @abstractmethod
    def chance(self, asked: Asked) -> Tensor:
        """The score ``(B,)`` of a random map, drawn anew for every question."""

    @abstractmethod
    def centred(self, asked: Asked) -> Tensor:
        """The score ``(B,)`` of a centred Gaussian, the same for every question."""


def level(asked: Asked, value: float) -> Tensor:
    """A value known beforehand, for each case."""
    return asked.relevance.new_full((len(asked.relevance),), value)


MODEL_SCORES: Registry[ModelScore] = Registry(kind="model score", base=ModelScore)


def score_model(asked: Asked) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Every model score: its value, that of a random map and that of a centred Gaussian, each ``(B,)``.

    NaN where a value is undefined: a map of zeros, or with values that are not finite, or the score's own rule.
    """
    flat = asked.relevance.flatten(1)
    defined = flat.isfinite().all(dim=1) & flat.any(dim=1)
    scores = {name: MODEL_SCORES.make(name) for name in MODEL_SCORES}
    return {
        name: (score.value(asked).where(defined, float("nan")), score.chance(asked), score.centred(asked))
        for name, score in scores.items()
    }
