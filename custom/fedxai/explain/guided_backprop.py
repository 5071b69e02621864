# SPDX-License-Identifier: Apache-2.0
"""Guided backpropagation: the known-bad reference, kept so that the trust tests have something to fail."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fedxai.errors import ExplanationError
from fedxai.explain.method import METHODS, Method
from fedxai.explain.probe import Probe

_RELU = {
    torch.relu,
    torch.relu_,
    Tensor.relu,
    Tensor.relu_,
    torch.nn.functional.relu,
}


@METHODS.register
class GuidedBackprop(Method):
    """KNOWN BAD, do not trust: the input gradient with ``R_in = 1[a > 0] 1[R_out > 0] R_out`` at every ReLU.

    It draws sharp edges of the image that hardly depend on the trained weights or on the class (Adebayo et al. 2018,
    arXiv:1810.03292; Nie et al. 2018, arXiv:1805.07039), and serves only as the method that a test of trust must
    fail. ReLU is met as a module or a function, in place or not, used once or often. One pass and the shared one.
    Shapes: input and map ``(B, C, *spatial)``.

    Raises:
        ExplanationError: when the network has no ReLU.

    Source: Springenberg et al. 2015, arXiv:1412.6806.
    """

    name = "guided_backprop"

    def attribute(self, probe: Probe) -> Tensor:
        """See the class."""
        guide = _Guide()
        gradient = probe.at(probe.inputs, within=guide).input_gradient
        if not guide.met:
            raise ExplanationError("guided_backprop changes ReLU, and this network has none; leave the method out")
        return gradient


class _Guide(TorchFunctionMode):
    """Only positive gradients pass a ReLU inside the block."""

    def __init__(self) -> None:
        super().__init__()
        self.met = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _RELU and result.requires_grad:
            self.met += 1
            result.register_hook(torch.relu)
        return result
