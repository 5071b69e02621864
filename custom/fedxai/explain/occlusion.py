# SPDX-License-Identifier: Apache-2.0
"""Occlusion: how much the explained logit falls when a window is hidden."""

from collections.abc import Iterator
from itertools import product
from math import ceil

import torch
from torch import Tensor

from fedxai.errors import SettingsError
from fedxai.explain.baseline import AgainstBaseline
from fedxai.explain.method import METHODS, count
from fedxai.explain.probe import Probe

_WINDOWS = 64


@METHODS.register
class Occlusion(AgainstBaseline):
    """``S_i = mean over windows w that hold i of f(x) - f(x with w replaced by the baseline)``.

    All channels are hidden together. One forward a window, without gradient, and the shared pass.
    Shapes: input ``(B, C, *spatial)``, map ``(B, 1, *spatial)``; logits.

    Args:
        window: side of the window in voxels, at most the axis; None: 64 windows, an eighth of each axis of an image
            and a quarter of each of a volume, rounded up.
        stride: step between windows in voxels, at most the window; None: the window. The last window of an axis is
            cut off at the border.
        baseline: what hides, see :class:`~fedxai.explain.baseline.AgainstBaseline`.

    Raises:
        SettingsError: when a side is no positive number, the stride leaves gaps, or the baseline is unknown.

    Source: Zeiler & Fergus 2014, arXiv:1311.2901.
    """

    name = "occlusion"

    def __init__(self, *, window: int | None = None, stride: int | None = None, baseline: str = "black") -> None:
        super().__init__(baseline=baseline)
        self._window = None if window is None else count("window", window)
        self._stride = None if stride is None else count("stride", stride)
        if self._stride is not None and (self._window is None or self._stride > self._window):
            raise SettingsError(f"stride must be at most the window, got stride {stride} and window {window}")

    def attribute(self, probe: Probe) -> Tensor:
        """See the class."""
        reference = self.reference(probe)
        fall = torch.zeros_like(probe.inputs[:, :1])
        times = torch.zeros_like(probe.inputs[:1, :1])
        for window in self._windows(probe.inputs.shape[2:]):
            hidden = probe.inputs.clone()
            hidden[window] = reference[window]
            change = probe.here.explained - probe.logit(hidden)
            fall[window] += change.view(-1, *[1] * (fall.ndim - 1))
            times[window] += 1
        return fall / times

    def _windows(self, space: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
        axes = []
        parts = round(_WINDOWS ** (1 / len(space)))
        for length in space:
            side = min(self._window or ceil(length / parts), length)
            stride = self._stride or side
            starts = range(0, (ceil((length - side) / stride) + 1) * stride, stride)
            axes.append([slice(start, start + side) for start in starts])
        for slices in product(*axes):
            yield (slice(None), slice(None), *slices)
