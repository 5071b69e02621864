# SPDX-License-Identifier: Apache-2.0
"""A network's answers to images, without a graph, the network left as it was."""

import torch
from torch import Tensor, nn

from fedxai.explain.probe import precision_of
from fedxai.explain.undisturbed import undisturbed


def logits(network: nn.Module, images: Tensor) -> Tensor:
    """Logits ``(B, K)`` in float64, of images ``(B, C, *spatial)`` on the network's device.

    The images are given to the network in its own precision, as a copy: its first operation may work in place.
    """
    with undisturbed(network), torch.no_grad():
        return network(images.to(precision_of(network, images), copy=True)).double()


def probabilities(network: nn.Module, images: Tensor) -> Tensor:
    """Softmax of :func:`logits`."""
    return logits(network, images).softmax(dim=1)
