# SPDX-License-Identifier: Apache-2.0
"""A network's answers to images, without a graph, the network left as it was."""

import torch
from torch import Tensor, nn

from fedxai.explain.probe import precision_of
from fedxai.explain.undisturbed import undisturbed


def logits(network: nn.Module, images: Tensor) -> Tensor:
    """Logits in float64, ``(B, K)`` or in a segmentation ``(B, K, *cells)``, of images ``(B, C, *spatial)``.

    The images lie on the network's device. They are given to it in its own precision, as a copy: its first operation
    may work in place.
    """
    with undisturbed(network), torch.no_grad():
        return network(images.to(precision_of(network, images), copy=True)).double()
