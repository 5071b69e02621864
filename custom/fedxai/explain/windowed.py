# SPDX-License-Identifier: Apache-2.0
"""A segmentation network over a volume larger than its window, differentiable with one batch of windows in memory."""

from collections.abc import Sequence
from typing import Any

import torch
from monai.inferers.inferer import SlidingWindowInferer
from monai.utils.misc import fall_back_tuple
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Windowed(nn.Module):
    """``z(x) = sum_w a_w z_w(x_w) / sum_w a_w``: the logits of overlapping windows, blended as in the evaluation.

    What is explained is then a number of the whole volume, and so are its maps: the gradient of a voxel adds up over
    the windows that see it, exactly. The backward pass asks each window again instead of keeping what its layers put
    out, so that memory holds that of one batch of windows (the inferer's ``sw_batch_size``), and a pass takes two
    forwards. An image of the window's size goes to the network as it is.

    Args:
        network: maps windows ``(B, C, *window)`` to logits ``(B, K, *window)``; shared, not copied.
        inferer: MONAI's sliding window: its size, overlap, blending a_w and padding.

    Example:
        >>> whole = Windowed(nn.Conv3d(1, 2, 3, padding=1), SlidingWindowInferer((8, 8, 8), overlap=0.5))
        >>> whole(torch.rand(1, 1, 20, 12, 8)).shape
        torch.Size([1, 2, 20, 12, 8])
    """

    def __init__(self, network: nn.Module, inferer: SlidingWindowInferer) -> None:
        super().__init__()
        self.network = network
        self._inferer = inferer
        self.training = network.training  # its own mode alone: the layers of the shared network keep theirs

    def window(self, space: Sequence[int]) -> tuple[int, ...]:
        """The window's size in voxels for an image of that size."""
        return tuple(fall_back_tuple(self._inferer.roi_size, space))

    def is_whole(self, space: Sequence[int]) -> bool:
        """Whether an image of that size goes to the network as it is, not in windows."""
        return self.window(space) == tuple(space)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, K, *spatial)`` of images ``(B, C, *spatial)``."""
        if self.is_whole(images.shape[2:]):
            return self.network(images)
        blended: Any = self._inferer(images, self._ask)
        return blended.to(images.device)  # the inferer may stitch on another

    def _ask(self, window: Tensor) -> Any:
        if not torch.is_grad_enabled():
            return self.network(window)
        return checkpoint(self.network, window, use_reentrant=False, preserve_rng_state=False)


def unwindowed(network: nn.Module) -> nn.Module:
    """The network that windows are given to; itself where there are none."""
    return network.network if isinstance(network, Windowed) else network


def as_inferred(network: nn.Module, inferer: Any) -> nn.Module:
    """The network as a bundle's inferer asks it: over windows where that is MONAI's sliding window, else itself."""
    return Windowed(network, inferer) if isinstance(inferer, SlidingWindowInferer) else network
