# SPDX-License-Identifier: Apache-2.0
"""Mixed precision: a training pass in bfloat16 over weights, loss and optimiser in float32."""

from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn


class InBfloat16(Inferer):
    """Runs the network of a step in bfloat16 where that is safe (PyTorch's autocast), and gives float32 back.

    bfloat16 has float32's range, so no loss needs to be scaled; MONAI's own ``amp`` is for CUDA in float16 alone.
    The backward pass takes each operation's type from the forward pass. A processor without bfloat16 instructions
    computes the same numbers more slowly.

    Args:
        inferer: the bundle's own.

    Source: Kalamkar et al. 2019, arXiv:1905.12322.
    """

    def __init__(self, inferer: Inferer) -> None:
        super().__init__()
        self._inferer = inferer

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """The network's answer, float32, with its graph."""
        with torch.autocast(inputs.device.type, torch.bfloat16):
            return self._inferer(inputs, network, *args, **kwargs).float()
