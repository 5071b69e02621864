# SPDX-License-Identifier: Apache-2.0
"""Forward + input-backward passes over a network whose weights stand still; each is counted."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from fedxai.errors import ExplanationError
from fedxai.explain.layer import Layer


@dataclass(frozen=True, kw_only=True)
class GradientPass:
    """What one forward and one input-backward pass leave, without their graph.

    ``input_gradient`` (B, C, *spatial) and the gradient in ``layer`` are of each case's explained logit.
    """

    logits: Tensor  # (B, K)
    targets: Tensor  # (B,), the explained classes
    input_gradient: Tensor
    activation: Tensor | None = None  # (B, K, *cells), output of the target layer
    activation_gradient: Tensor | None = None

    @property
    def layer(self) -> tuple[Tensor, Tensor]:
        """Activation of the target layer and its gradient.

        Raises:
            ExplanationError: when the pass was made without a target layer.
        """
        if self.activation is None or self.activation_gradient is None:
            raise ExplanationError("this method reads a target layer; set needs_layer = True in its class")
        return self.activation, self.activation_gradient


class Probe:
    """A network in evaluation mode and a batch: methods ask for passes, and the passes are counted.

    Args:
        network: maps ``(B, C, *spatial)`` to logits ``(B, K)``; its parameters need no gradient.
        inputs: the batch ``(B, C, *spatial)``, on the network's device.
        targets: the explained classes ``(B,)``; None: those predicted.
        layer: the target layer, where a method reads one.
    """

    def __init__(
        self, *, network: nn.Module, inputs: Tensor, targets: Tensor | None = None, layer: Layer | None = None
    ) -> None:
        self.network = network
        self.inputs = inputs
        self.passes = 0
        self._targets = targets
        self._layer = layer

    @cached_property
    def here(self) -> GradientPass:
        """The pass at the inputs themselves: made once, shared by all methods."""
        return self.at(self.inputs)

    @property
    def targets(self) -> Tensor:
        """The explained classes ``(B,)``."""
        return self.here.targets

    def at(self, inputs: Tensor) -> GradientPass:
        """One forward and one input-backward pass at other inputs of the same batch.

        Raises:
            ExplanationError: when the network's answer or its target layer's cannot be explained.
        """
        self.passes += 1
        leaf = inputs.detach()
        leaf = (leaf.clone() if leaf.is_inference() else leaf).requires_grad_()
        if self._layer is None:
            logits, heard = self._logits(leaf), []
        else:
            with self._layer.listening() as outputs:
                logits = self._logits(leaf)
            heard = [self._layer.heard(outputs, leaf)]
        targets = self._explained_classes(logits)
        chosen = logits.gather(1, targets[:, None]).sum()
        gradients = torch.autograd.grad(chosen, [leaf, *heard], allow_unused=True)
        if any(gradient is None for gradient in gradients):
            which = "the input" if gradients[0] is None else f"target_layer {self._layer}"
            raise ExplanationError(f"the logits must depend on {which}, but no gradient comes back from them")
        return GradientPass(
            logits=logits.detach(),
            targets=targets,
            input_gradient=gradients[0],
            activation=heard[0].detach() if heard else None,
            activation_gradient=gradients[1] if heard else None,
        )

    def _logits(self, leaf: Tensor) -> Tensor:
        # a copy: the network's first operation may work in place, on the caller's image
        answer: Any = self.network(leaf.clone())
        if not isinstance(answer, Tensor):
            raise ExplanationError(
                f"the network must return one tensor of logits (B, K), got a {type(answer).__name__}; "
                "wrap it in a module that returns the logits"
            )
        if answer.ndim != 2 or len(answer) != len(leaf):
            raise ExplanationError(
                f"the network must return logits ({len(leaf)}, K) for this batch, got {tuple(answer.shape)}"
            )
        if not answer.requires_grad:
            raise ExplanationError("the logits must depend on the input, but the network detaches them from it")
        return answer.as_subclass(Tensor)

    def _explained_classes(self, logits: Tensor) -> Tensor:
        if self._targets is None:
            return logits.detach().argmax(dim=1)
        classes = logits.shape[1]
        outside = self._targets[(self._targets < 0) | (self._targets >= classes)]
        if len(outside):
            raise ExplanationError(f"targets must be class indices in 0..{classes - 1}, got {int(outside[0])}")
        return self._targets
