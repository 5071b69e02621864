# SPDX-License-Identifier: Apache-2.0
"""Explain one batch: all asked methods from as few passes as they need, the network left as it was."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedxai.errors import ExplanationError
from fedxai.explain.layer import Layer
from fedxai.explain.method import METHODS, Method
from fedxai.explain.probe import Probe
from fedxai.explain.question import Question
from fedxai.explain.undisturbed import undisturbed
from fedxai.explain.windowed import Windowed, unwindowed


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What :func:`explain_batch` gives back, on the network's device and without graph."""

    logits: Tensor  # (B, K), of a segmentation (B, K, *cells)
    question: Question  # what was explained
    maps: dict[str, Tensor]  # by method: (B, C, *spatial) or (B, 1, *spatial)
    passes: int  # forward + input-backward passes it took
    forwards: int  # forward passes without gradient, beside them

    @property
    def targets(self) -> Tensor:
        """The explained classes ``(B,)``."""
        return self.question.classes


def explain_batch(
    network: nn.Module,
    inputs: Tensor,
    *,
    targets: Tensor | Sequence[int] | int | Question | None = None,
    methods: Sequence[str | Method],
    target_layer: str | None = None,
    background: Tensor | None = None,
    black: float = 0.0,
) -> Explained:
    """Maps of a batch by every asked method.

    ``saliency``, ``gradient_x_input`` and the class activation maps together take one forward and one
    input-backward pass. The network is asked in evaluation mode; afterwards its modes, weights, buffers, gradients
    and hooks are as before. What is explained of a segmentation stands in :class:`~fedxai.explain.Question`.

    Args:
        network: maps ``(B, C, *spatial)`` to logits ``(B, K)``, or in a segmentation ``(B, K, *cells)``; in float32,
            float64 or bfloat16, also under autocast.
        inputs: ``(B, C, *spatial)`` with 2 or 3 spatial axes, floating point; moved to the network's device, and
            given to it in its precision.
        targets: the class to explain, for all cases or one each; None: the predicted class, in a segmentation the
            most frequent class above 0. Or the question of an earlier answer, to ask the same again.
        methods: names in the registry, or methods with settings of their own.
        target_layer: module path of the layer that methods with ``needs_layer`` read.
        background: images ``(N, C, *spatial)`` of the site that methods with ``needs_background`` compare with.
        black: the lower end of the network's input range, which methods with a baseline compare with.

    Returns:
        Logits, explained classes, and a map per method on the input's grid, in single precision or better.

    Raises:
        ExplanationError: when a method, layer or class is unknown, or a shape or the precision does not fit.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> explain_batch(network, torch.rand(4, 1, 8, 8), methods=["saliency"]).maps["saliency"].shape
        torch.Size([4, 1, 8, 8])
    """
    chosen = _methods(methods)
    batch = _inputs(inputs, network)
    layer = _layer(chosen, network, target_layer, space=batch.shape[2:])
    asked = targets if isinstance(targets, Question) else _targets(targets, batch)
    with undisturbed(network):
        probe = Probe(
            network=network,
            inputs=batch,
            targets=asked,
            layer=layer,
            background=_background(chosen, background, batch),
            black=black,
        )
        maps = {method.name: _on_grid(method.name, method.attribute(probe), batch) for method in chosen}
        logits, question = probe.here.logits, probe.here.question
    return Explained(logits=logits, question=question, maps=maps, passes=probe.passes, forwards=probe.forwards)


def able(
    methods: Sequence[Method], network: nn.Module, space: Sequence[int], background: Tensor | None = None
) -> list[Method]:
    """Those of the methods that can explain images of that size.

    Over windows no layer is read, and a background of another size is nothing to compare with.

    Args:
        methods: that explain images of some size.
        network: as for :func:`explain_batch`.
        space: the images' size in voxels.
        background: as for :func:`explain_batch`; where there is none, a method that needs one is refused there.
    """
    whole = not isinstance(network, Windowed) or network.is_whole(space)
    comparable = background is None or background.shape[2:] == torch.Size(space)
    return [m for m in methods if (whole or not m.needs_layer) and (comparable or not m.needs_background)]


def device_of(network: nn.Module) -> torch.device | None:
    """Where the network's first parameter or buffer lies; None for a network without any."""
    for tensor in (*network.parameters(), *network.buffers()):
        return tensor.device
    return None


def _methods(methods: Sequence[str | Method]) -> list[Method]:
    chosen = [METHODS.make(method) if isinstance(method, str) else method for method in methods]
    names = [method.name for method in chosen]
    if not names or len(set(names)) < len(names):
        raise ExplanationError(f"methods must be names, each once, from {', '.join(METHODS)}; got {names}")
    return chosen


def _inputs(inputs: Tensor, network: nn.Module) -> Tensor:
    if inputs.ndim not in (4, 5) or 0 in inputs.shape or not inputs.is_floating_point():
        raise ExplanationError(
            "inputs must be floating point (B, C, *spatial) with 2 or 3 spatial axes, none empty, "
            f"got {inputs.dtype} {tuple(inputs.shape)}"
        )
    precision = torch.promote_types(inputs.dtype, torch.float32)
    return inputs.detach().as_subclass(Tensor).to(device_of(network), precision)


def _targets(targets: Tensor | Sequence[int] | int | None, inputs: Tensor) -> Tensor | None:
    if targets is None:
        return None
    classes = torch.as_tensor(targets, device=inputs.device)
    if classes.ndim == 0:
        classes = classes.expand(len(inputs))
    if classes.shape != (len(inputs),) or classes.is_floating_point() or classes.dtype == torch.bool:
        raise ExplanationError(
            f"targets must be one class index or {len(inputs)} of them, got {classes.dtype} {tuple(classes.shape)}"
        )
    return classes.as_subclass(Tensor).long()


def _layer(
    methods: Sequence[Method], network: nn.Module, target_layer: str | None, *, space: Sequence[int]
) -> Layer | None:
    reading = [method.name for method in methods if method.needs_layer]
    if not reading:
        return None
    if target_layer is None:
        inner = unwindowed(network)
        names = [name for name, module in inner.named_modules() if name and not list(module.children())]
        raise ExplanationError(
            f"{reading[0]} needs target_layer; the network's last layers are {', '.join(names[-8:])}"
        )
    if isinstance(network, Windowed) and not network.is_whole(space):
        raise ExplanationError(
            f"{reading[0]} reads a layer over the whole image, but images of {_by(space)} go through this network in "
            f"windows of {_by(network.window(space))}; leave it out"
        )
    return Layer(network, target_layer)


def _by(lengths: Sequence[int]) -> str:
    return " x ".join(str(length) for length in lengths)


def _background(methods: Sequence[Method], background: Tensor | None, inputs: Tensor) -> Tensor | None:
    needing = [method.name for method in methods if method.needs_background]
    if not needing:
        return None
    shape = inputs.shape[1:]
    if background is None:
        raise ExplanationError(
            f"{needing[0]} needs background, images (N, {', '.join(map(str, shape))}) to compare with"
        )
    if background.shape[1:] != shape or len(background) == 0:
        raise ExplanationError(f"background must be (N, {', '.join(map(str, shape))}), got {tuple(background.shape)}")
    return background.detach().as_subclass(Tensor).to(inputs)


def _on_grid(name: str, attribution: Tensor, inputs: Tensor) -> Tensor:
    batch, channels, *spatial = inputs.shape
    if attribution.shape not in (inputs.shape, (batch, 1, *spatial)):
        raise ExplanationError(
            f"{name} must give maps ({batch}, {channels} or 1, *{spatial}), got {tuple(attribution.shape)}"
        )
    return attribution.detach()
