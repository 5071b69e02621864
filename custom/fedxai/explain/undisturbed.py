# SPDX-License-Identifier: Apache-2.0
"""A network is asked without being changed: evaluation mode and frozen weights inside, all back after."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fedxai.errors import ExplanationError


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, no parameter needs a gradient, and gradients of inputs are possible inside the block.

    Weights, buffers, ``.grad`` and hooks are never touched; training modes (module by module) and
    ``requires_grad`` are as before when the block ends, also when it fails.

    Raises:
        ExplanationError: when a layer normalises over the batch even then, so that a map would depend on the
            other cases of its batch.
    """
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise ExplanationError(
                f"layer {name!r} normalises over the batch also in evaluation mode, so a map would depend on "
                "its neighbours; use running statistics, group or instance normalisation"
            )
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        with evaluating(network), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for parameter in learning:
            parameter.requires_grad_()


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards each module has its own mode again."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training
