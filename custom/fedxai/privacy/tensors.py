# SPDX-License-Identifier: Apache-2.0
"""Tensors that may cross the wall: exactly the network's names, shapes and dtypes, all finite, within a norm."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedxai.errors import ReleaseError

Tensors = Mapping[str, NDArray]


def rebuilt_tensors(found: object, expected: Tensors, *, what: str) -> dict[str, NDArray]:
    """The tensors in fresh memory and in the order of ``expected``; nothing else of ``found`` is kept.

    Args:
        found: what came.
        expected: tensors with the names, shapes and dtypes that are allowed; their values don't matter.
        what: ``update`` or ``global weights``, for the sentence.

    Raises:
        ReleaseError: when ``found`` is no plain table of plain arrays with exactly those, or a value is not finite.
    """
    if type(found) is not dict or any(type(name) is not str for name in found):
        raise ReleaseError("types", f"{what} must be a table of arrays by name")
    missing, extra = len(expected.keys() - found.keys()), len(found.keys() - expected.keys())
    if missing or extra:
        raise ReleaseError("tensors", f"{what} has {missing} tensors missing and {extra} unknown ones")
    return {name: _rebuilt(found[name], wanted, f"{what}: {name}") for name, wanted in expected.items()}


def _rebuilt(array: object, wanted: NDArray, what: str) -> NDArray:
    if type(array) is not np.ndarray:
        raise ReleaseError("types", f"{what} must be an array")
    if array.dtype != wanted.dtype or array.shape != wanted.shape:
        raise ReleaseError("tensors", f"{what} must be {wanted.dtype} of shape {wanted.shape}")
    if not np.isfinite(array).all():
        raise ReleaseError("finite", f"{what} has values that are not finite")
    return np.array(array, order="C")


def norm(tensors: Tensors) -> float:
    """The L2 norm over all float tensors together, ``sqrt(sum_i w_i^2)``, summed in float64."""
    floats = (tensor.astype(np.float64).ravel() for tensor in tensors.values() if tensor.dtype.kind == "f")
    return math.sqrt(sum(float(tensor @ tensor) for tensor in floats))


def check_norm(update: Tensors, weights: Tensors, most: float) -> None:
    """Refuse an update that is longer than ``most`` times the weights it began with.

    Raises:
        ReleaseError: names the bound.
    """
    if norm(update) > most * norm(weights):
        raise ReleaseError("norm", f"an update's norm must be at most {most:g} times the weights' (policy.update_norm)")
