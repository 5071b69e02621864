# SPDX-License-Identifier: Apache-2.0
"""Baselines: the image without information that an image is compared with."""

from collections.abc import Callable
from typing import ClassVar

import torch
from monai.networks.layers.convutils import gaussian_1d
from monai.networks.layers.simplelayers import separable_filtering
from torch import Tensor

from fedxai.errors import SettingsError
from fedxai.explain.method import Method
from fedxai.explain.probe import Probe

_BLUR = 1 / 8


class AgainstBaseline(Method):
    """A method that asks what the image has that its baseline has not.

    Args:
        baseline: ``black``: the lower end of the network's input range, 0 where nobody says another; ``mean``: the
            mean image of the background set; ``blurred``: the image itself behind a Gaussian whose standard deviation
            is 1/8 of each axis, with the border repeated. The name of the method says the baseline where it is not
            black, and the method is known by that name too (``occlusion_blurred``), so that maps of several baselines
            stand side by side and the influence of the baseline is reported.

    Raises:
        SettingsError: when the baseline is none of these.
    """

    variants: ClassVar = {baseline: {"baseline": baseline} for baseline in ("mean", "blurred")}

    def __init__(self, *, baseline: str = "black") -> None:
        if baseline not in BASELINES:
            raise SettingsError(f"baseline must be one of {', '.join(BASELINES)}, got {baseline!r}")
        self._baseline = baseline
        self.needs_background = baseline == "mean"
        if baseline != "black":
            self.name = f"{self.name}_{baseline}"

    def reference(self, probe: Probe) -> Tensor:
        """The baseline of every case ``(B, C, *spatial)``."""
        return BASELINES[self._baseline](probe).expand_as(probe.inputs)


def _black(probe: Probe) -> Tensor:
    return torch.full_like(probe.inputs, probe.black)


def _mean(probe: Probe) -> Tensor:
    return probe.background.mean(dim=0, keepdim=True)


def _blurred(probe: Probe) -> Tensor:
    kernels = [
        gaussian_1d(torch.tensor(length * _BLUR), truncated=3.0, normalize=True) for length in probe.inputs.shape[2:]
    ]
    return separable_filtering(probe.inputs, kernels, mode="replicate")


BASELINES: dict[str, Callable[[Probe], Tensor]] = {"black": _black, "mean": _mean, "blurred": _blurred}
