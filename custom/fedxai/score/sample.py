# SPDX-License-Identifier: Apache-2.0
"""A few cases out of a stream, each as likely as any other, however the stream is cut into batches."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """One case to ask the network about again."""

    image: Tensor  # (C, *spatial), on the CPU
    target: int  # the explained class
    group: str


class Sample:
    """Keeps the ``size`` cases with the smallest of random numbers drawn one a case; holds no more than that.

    Args:
        size: how many cases, at least 0.
        seed: of the draw.
    """

    def __init__(self, size: int, *, seed: int = 0) -> None:
        self._size = size
        self._draws = np.random.default_rng(seed)
        self._seen = 0
        self._kept: list[tuple[float, int, Sampled]] = []  # a heap: the largest draw first

    def add(self, batch: Mapping[str, Any], targets: Tensor) -> None:
        """Look at every case of a batch with its explained class."""
        for place, target in enumerate(targets.tolist()):
            draw, self._seen = float(self._draws.random()), self._seen + 1
            if not self._size or (len(self._kept) == self._size and -self._kept[0][0] <= draw):
                continue
            image = batch["image"][place].detach().as_subclass(Tensor).to("cpu", copy=True)
            entry = (-draw, self._seen, Sampled(image=image, target=target, group=batch["group"][place]))
            (heapq.heappush if len(self._kept) < self._size else heapq.heapreplace)(self._kept, entry)

    def batches(self, size: int) -> list[tuple[Tensor, Tensor, list[str]]]:
        """Images, explained classes and patients of the kept cases in their order, at most ``size`` together."""
        cases = [case for _, _, case in sorted(self._kept, key=lambda entry: entry[1])]
        parts = [cases[first : first + size] for first in range(0, len(cases), size)]
        return [
            (torch.stack([c.image for c in part]), torch.tensor([c.target for c in part]), [c.group for c in part])
            for part in parts
        ]
