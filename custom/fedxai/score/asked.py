# SPDX-License-Identifier: Apache-2.0
"""A batch explained by one method, and the means to ask its network again: every pass is counted."""

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fedxai.explain import Explained, Method, Question, explain_batch
from fedxai.score.answers import logits
from fedxai.score.regions import Regions

T = TypeVar("T")


class Asked:
    """What a score of a method and a network may ask for.

    Asked again is the same question: in a segmentation the region that was segmented in the unchanged image, also of
    another network.

    Randomness is drawn once for one image and shared by all cases, so that a case's score does not depend on its
    batch, and anew from ``seed`` by everyone who asks, so that it does not depend on other scores. The random maps'
    alone is each case's own, drawn from ``seed`` and the image: one draw for all would be luck that no interval sees.

    Args:
        network: maps images to logits ``(B, K)``, or in a segmentation ``(B, K, *cells)``; left as it was.
        inputs: images ``(B, C, *spatial)``.
        targets: the explained classes ``(B,)``.
        method: the saliency method, or its name.
        seed: of everything drawn.
        ask: ``target_layer``, ``background`` and ``black``, as :func:`~fedxai.explain.explain_batch` takes them.

    Raises:
        ExplanationError: when nothing can be explained.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        method: str | Method,
        seed: int = 0,
        **ask: Any,
    ) -> None:
        self.network = network
        self.seed = seed
        self.passes = 0
        self._method = method
        self._ask = ask
        self._known: dict[object, object] = {}
        explained = self._explained(inputs, network, targets)
        (whole,) = explained.maps.values()
        self.inputs = inputs.detach().as_subclass(Tensor).to(whole)
        self.question = explained.question
        self.relevance = whole.double().sum(dim=1)  # (B, *spatial)
        self.others: Mapping[str, Tensor] = {}  # maps (B, *spatial) of the same cases by other methods
        self.spacing: Tensor | None = None  # (B, axes), mm from voxel to voxel; None: voxels are cubes

    @property
    def black(self) -> float:
        """The lower end of the network's input range."""
        return self._ask.get("black", 0.0)

    @property
    def grid(self) -> tuple[int, ...]:
        """The image's axes."""
        return tuple(self.inputs.shape[2:])

    @cached_property
    def gaussian(self) -> Tensor:
        """The centred Gaussian on this grid ``(B, *spatial)``."""
        regions = Regions.of(torch.ones_like(self.inputs[:1, :1]))
        return regions.gaussian.reshape(1, *self.grid).expand_as(self.relevance)

    def explain(self, inputs: Tensor, *, network: nn.Module | None = None, moved: bool = False) -> Tensor:
        """Maps ``(B, *spatial)`` of other inputs, or by another network, for the same question.

        Where the image has ``moved`` on its grid, so has what is segmented in it: only the classes are the same then.
        """
        asked = self.question.classes if moved else self.question
        (whole,) = self._explained(inputs, network or self.network, asked).maps.values()
        return whole.double().sum(dim=1)

    def probability(self, inputs: Tensor) -> Tensor:
        """:meth:`Question.probability` ``(B,)`` at other inputs: one forward pass."""
        self.passes += 1
        return self.question.probability(logits(self.network, inputs))

    def logit(self, inputs: Tensor) -> Tensor:
        """The explained number ``(B,)`` at other inputs: one forward pass."""
        self.passes += 1
        return self.question.of(logits(self.network, inputs))

    def generator(self, draw: int = 0) -> torch.Generator:
        """A new source of randomness, on the CPU."""
        return torch.Generator().manual_seed(1009 * self.seed + draw)

    @cached_property
    def white(self) -> Tensor:
        """White noise of each case's own ``(B, *spatial)``, which depends on the image and the seed alone."""
        made = []
        for image in self.inputs.float().cpu().numpy():
            digest = hashlib.blake2b(image.tobytes(), digest_size=7, salt=self.seed.to_bytes(8, "little")).digest()
            own = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
            made.append(torch.randn(self.grid, generator=own, dtype=torch.float64))
        return torch.stack(made).to(self.relevance)

    def noise(self, draw: int = 0) -> Tensor:
        """Standard normal noise for one image ``(1, C, *spatial)``."""
        return torch.randn(1, *self.inputs.shape[1:], generator=self.generator(draw)).to(self.inputs)

    def once(self, key: object, make: Callable[[], T]) -> T:
        """What several scores need, made when the first one asks."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]  # pyright: ignore[reportReturnType] - a key stands for one type

    def forget(self) -> None:
        """Let go of what several scores needed; they are through."""
        self._known.clear()

    def _explained(self, inputs: Tensor, network: nn.Module, targets: Tensor | Question) -> Explained:
        answer = explain_batch(network, inputs, targets=targets, methods=[self._method], **self._ask)
        self.passes += answer.passes + answer.forwards
        return answer
