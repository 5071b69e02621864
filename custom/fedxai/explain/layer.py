# SPDX-License-Identifier: Apache-2.0
"""The target layer of a network: found by its module path, listened to during one forward pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from fedxai.errors import ExplanationError
from fedxai.explain.windowed import unwindowed

_LISTED = 30


class Layer:
    """A module of a network by its path (``features.denseblock4``).

    Raises:
        ExplanationError: when there is no module of that path; the choices are listed, the closest first.
    """

    def __init__(self, network: nn.Module, path: str) -> None:
        self.path = path
        modules = {name: module for name, module in unwindowed(network).named_modules() if name}
        if path not in modules:
            raise ExplanationError(
                f"target_layer {path!r} is not in the network; choose from {_choices(path, modules)}"
            )
        self._module = modules[path]

    def __str__(self) -> str:
        return repr(self.path)

    @contextmanager
    def listening(self) -> Iterator[list[Any]]:
        """Collect what the layer puts out inside the block."""
        outputs: list[Any] = []

        def keep(module: nn.Module, inputs: Any, output: Any) -> Any:
            outputs.append(output)
            # the network goes on with a copy: an in-place ReLU that follows must not change what we keep
            return output.clone() if isinstance(output, Tensor) else None

        handle = self._module.register_forward_hook(keep)
        try:
            yield outputs
        finally:
            handle.remove()

    def heard(self, outputs: list[Any], inputs: Tensor) -> Tensor:
        """The one activation ``(B, K, *cells)`` among what was heard.

        Raises:
            ExplanationError: when the layer ran never or twice, or its output has one cell or no gradient.
        """
        if len(outputs) != 1:
            raise ExplanationError(f"target_layer {self} must run once in a forward pass, it ran {len(outputs)} times")
        output = outputs[0]
        if not isinstance(output, Tensor):
            raise ExplanationError(f"target_layer {self} must put out one tensor, got a {type(output).__name__}")
        if output.ndim != inputs.ndim or len(output) != len(inputs):
            raise ExplanationError(
                f"target_layer {self} must put out (B, K, *cells) with {inputs.ndim - 2} spatial axes, "
                f"got {tuple(output.shape)}; choose a layer before pooling and flattening"
            )
        if max(output.shape[2:]) == 1:
            raise ExplanationError(
                f"target_layer {self} puts out a single cell, {tuple(output.shape)}, so that its map is the same "
                "everywhere; choose a layer before pooling"
            )
        if not output.requires_grad:
            raise ExplanationError(f"target_layer {self} must depend on the input, but no gradient reaches it")
        return output


def _choices(path: str, modules: dict[str, nn.Module]) -> str:
    close = get_close_matches(path, modules, n=3)
    names = list(dict.fromkeys([*close, *sorted(modules, key=lambda name: (name.count("."), name))]))
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
