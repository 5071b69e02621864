# SPDX-License-Identifier: Apache-2.0
"""A gate that hides what a network should not look at, and how to look at a gated network through its soft path."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, max_pool3d

from fedxai.errors import BundleError

_POOL = {4: max_pool2d, 5: max_pool3d}


class HardGate(nn.Module):
    """``g = 1`` where ``sigmoid(a) > threshold`` and within ``margin`` voxels of it, else 0; no gradient passes.

    Where no voxel of an image is relevant the gate is open everywhere, so that a gate that has learned nothing yet
    leaves a plain network. In training the threshold of each image is drawn from ``threshold - jitter`` to
    ``threshold + jitter``, which keeps what is behind from relying on the gate's outline.

    Behind a hard gate a gradient sees only what the gate lets through: E is then the gate's precision, whatever the
    decision rests on. :func:`softened` shows the other reading, and the honesty battery asks for it.

    Args:
        margin: voxels that an opening is grown by.
        threshold: on the relevance, between 0 and 1.
        jitter: of the threshold in training; at most its distance from 0 and from 1.

    Shapes: relevance logits ``a`` ``(B, 1, *spatial)`` to ``(B, 1, *spatial)``.

    Raises:
        BundleError: when a setting breaks its rule.
    """

    def __init__(self, *, margin: int = 2, threshold: float = 0.5, jitter: float = 0.2) -> None:
        super().__init__()
        if margin < 0 or jitter < 0 or not 0 < threshold - jitter <= threshold + jitter < 1:
            raise BundleError(
                "a gate's margin must be at least 0 and its threshold with its jitter between 0 and 1, got margin "
                f"{margin}, threshold {threshold}, jitter {jitter}"
            )
        self.margin, self.threshold, self.jitter = margin, threshold, jitter
        self.soft = False

    def forward(self, relevance: Tensor) -> Tensor:
        """The gate of each image; while softened ``sigmoid(a)``, with its gradient."""
        if self.soft:
            return relevance.sigmoid()
        given = relevance.detach()
        opened = (given > self._level(given)).to(given.dtype)
        if self.margin:
            opened = _POOL[given.ndim](opened, 2 * self.margin + 1, 1, self.margin)
        anything = opened.flatten(1).amax(dim=1).view(-1, *[1] * (given.ndim - 1))
        return torch.where(anything > 0, opened, torch.ones_like(opened))

    def _level(self, given: Tensor) -> Tensor:
        """The threshold of each image, as a logit."""
        drawn = torch.zeros(len(given), *[1] * (given.ndim - 1), device=given.device)
        if self.training and self.jitter:
            drawn.uniform_(-self.jitter, self.jitter)
        return torch.logit(self.threshold + drawn)


@contextmanager
def softened(network: nn.Module) -> Iterator[bool]:
    """Every gate of the network is ``sigmoid(a)`` inside the block, and a gradient also asks what opens it.

    Yields:
        Whether the network has a gate.
    """
    gates = [module for module in network.modules() if isinstance(module, HardGate)]
    for gate in gates:
        gate.soft = True
    try:
        yield bool(gates)
    finally:
        for gate in gates:
            gate.soft = False
