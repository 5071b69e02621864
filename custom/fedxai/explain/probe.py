# SPDX-License-Identifier: Apache-2.0
"""Passes over a network whose weights stand still, with and without the gradient; each is counted."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from fedxai.errors import ExplanationError
from fedxai.explain.layer import Layer
from fedxai.explain.question import Question

_UNDERFLOW = ", in which gradients underflow; explain it in bfloat16 or float32"


@dataclass(frozen=True, kw_only=True)
class GradientPass:
    """What one forward and one input-backward pass leave, without their graph.

    ``input_gradient`` (B, C, *spatial) and the gradient in ``layer`` are of each case's explained number f.
    """

    logits: Tensor  # (B, K), of a segmentation (B, K, *cells)
    question: Question
    explained: Tensor  # (B,), f
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
        network: maps ``(B, C, *spatial)`` to logits ``(B, K)`` or ``(B, K, *cells)``; its parameters need no
            gradient.
        inputs: the batch ``(B, C, *spatial)``, on the network's device, in single precision or better.
        targets: the explained classes ``(B,)``; None: those predicted; or a question that was asked before.
        layer: the target layer, where a method reads one.
        background: images ``(N, C, *spatial)`` to compare with, where a method needs them.
        black: the lower end of the network's input range.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        inputs: Tensor,
        targets: Tensor | Question | None = None,
        layer: Layer | None = None,
        background: Tensor | None = None,
        black: float = 0.0,
    ) -> None:
        self.network = network
        self.inputs = inputs
        self.black = black
        self.passes = 0
        self.forwards = 0
        self._targets = targets
        self._layer = layer
        self._background = background
        self._precision = precision_of(network, inputs)
        device = inputs.device.type
        if torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16:
            raise ExplanationError(f"the network is asked under autocast to float16{_UNDERFLOW}")
        if self._precision == torch.float16:
            raise ExplanationError(f"the network computes in float16{_UNDERFLOW}")

    @cached_property
    def here(self) -> GradientPass:
        """The pass at the inputs themselves, with the target layer: made once, shared by all methods."""
        return self._pass(self.inputs, layer=self._layer)

    @property
    def targets(self) -> Tensor:
        """The explained classes ``(B,)``."""
        return self.here.question.classes

    @property
    def background(self) -> Tensor:
        """The background set ``(N, C, *spatial)``.

        Raises:
            ExplanationError: when none was given.
        """
        if self._background is None:
            raise ExplanationError("this method needs a background; set needs_background = True in its class")
        return self._background

    def at(self, inputs: Tensor, *, within: AbstractContextManager[Any] | None = None) -> GradientPass:
        """One forward and one input-backward pass at other inputs of the same batch, ``within`` a context.

        Raises:
            ExplanationError: when the network's answer cannot be explained.
        """
        question = self.here.question
        with within or nullcontext():
            return self._pass(inputs, question=question)

    def logit(self, inputs: Tensor) -> Tensor:
        """f ``(B,)`` at other inputs of the same batch: one forward pass, no gradient."""
        question = self.here.question
        self.forwards += 1
        with torch.no_grad():
            return question.of(self._answer(inputs))

    def _pass(self, inputs: Tensor, *, layer: Layer | None = None, question: Question | None = None) -> GradientPass:
        self.passes += 1
        leaf = inputs.detach()
        leaf = (leaf.clone() if leaf.is_inference() else leaf).requires_grad_()
        with layer.listening() if layer else nullcontext([]) as outputs:
            logits = self._answer(leaf)
        if not logits.requires_grad:
            raise ExplanationError("the logits must depend on the input, but the network detaches them from it")
        heard = [layer.heard(outputs, leaf)] if layer else []
        if question is None:
            given = self._targets
            question = given.fitting(logits) if isinstance(given, Question) else Question.about(logits, given)
        explained = question.of(logits)
        with _fitting(inputs):
            gradients = torch.autograd.grad(explained.sum(), [leaf, *heard], allow_unused=True)
        if any(gradient is None for gradient in gradients):
            which = "the input" if gradients[0] is None else f"target_layer {layer}"
            raise ExplanationError(f"the logits must depend on {which}, but no gradient comes back from them")
        return GradientPass(
            logits=logits.detach(),
            question=question,
            explained=explained.detach(),
            input_gradient=gradients[0],
            activation=_single(heard[0].detach()) if heard else None,
            activation_gradient=_single(gradients[1]) if heard else None,
        )

    def _answer(self, inputs: Tensor) -> Tensor:
        # a copy: the network's first operation may work in place, on the caller's image
        with _fitting(inputs):
            answer: Any = self.network(inputs.to(self._precision, copy=True))
        if not isinstance(answer, Tensor):
            raise ExplanationError(
                f"the network must return one tensor of logits (B, K) or (B, K, *cells), got a "
                f"{type(answer).__name__}; wrap it in a module that returns the logits"
            )
        if answer.ndim not in (2, inputs.ndim) or len(answer) != len(inputs) or 0 in answer.shape:
            raise ExplanationError(
                f"the network must return logits ({len(inputs)}, K) for this batch, or with {inputs.ndim - 2} more "
                f"axes in a segmentation, got {tuple(answer.shape)}"
            )
        if answer.dtype == torch.float16:
            raise ExplanationError(f"the network answers in float16{_UNDERFLOW}")
        return answer.as_subclass(Tensor)


@contextmanager
def _fitting(inputs: Tensor) -> Iterator[None]:
    """An image that the network or the memory has no room for is one sentence with its size."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ExplanationError(f"the network cannot answer for images {tuple(inputs.shape)}: {reason}") from error


def _single(tensor: Tensor) -> Tensor:
    """In single precision at least: what a map is added up in."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def precision_of(network: nn.Module, inputs: Tensor) -> torch.dtype:
    """The network's floating-point type; that of the inputs where it has no weights."""
    weights = (*network.parameters(), *network.buffers())
    return next((w.dtype for w in weights if w.is_floating_point()), inputs.dtype)
