# SPDX-License-Identifier: Apache-2.0
"""Copies of a network whose learned weights are drawn anew, from the output down."""

import math

import torch
from torch import nn

from fedxai.explain.twin import twin


def randomised(network: nn.Module, share: float, *, seed: int = 0) -> nn.Module:
    """A copy with the last ``share`` of its layers that have weights (at least one) as before any training.

    Layers are in the order in which the network lists them; the last is taken to be the one nearest the output. A
    layer draws its weights by its own ``reset_parameters``; one without such a method has each of its tensors
    shuffled. The network itself, and the global random state, stay as they were.

    Source: Adebayo et al. 2018, arXiv:1810.03292 (cascading parameter randomisation).
    """
    other = twin(network)
    layers = [module for module in other.modules() if next(module.parameters(recurse=False), None) is not None]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for layer in reversed(layers[len(layers) - max(1, math.ceil(share * len(layers))) :] if layers else []):
            _draw(layer)
    return other


def _draw(layer: nn.Module) -> None:
    reset = getattr(layer, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    for weights in layer.parameters(recurse=False):
        order = torch.randperm(weights.numel()).to(weights.device)
        weights.copy_(weights.flatten()[order].reshape(weights.shape))
