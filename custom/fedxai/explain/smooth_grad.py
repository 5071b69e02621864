# SPDX-License-Identifier: Apache-2.0
"""SmoothGrad: the saliency that stays when noise is added to the image."""

import torch
from torch import Tensor

from fedxai.explain.method import METHODS, Method, count, number
from fedxai.explain.probe import Probe


@METHODS.register
class SmoothGrad(Method):
    """``S = |1/n sum_j df(x + e_j)/dx|``, ``e_j`` Gaussian of standard deviation ``noise * (max x - min x)``.

    The range is that of each case; the n noise images are the same for all cases. n passes and the shared one.
    Shapes: input and map ``(B, C, *spatial)``; logits per unit of input.

    Args:
        samples: n.
        noise: the noise level, as a share of the case's range; the paper advises 0.1 to 0.2.
        seed: of the noise.

    Raises:
        SettingsError: when samples is no positive number or noise is no number from 0 to 10.

    Source: Smilkov et al. 2017, arXiv:1706.03825.
    """

    name = "smooth_grad"

    def __init__(self, *, samples: int = 25, noise: float = 0.15, seed: int = 0) -> None:
        self._samples = count("samples", samples)
        self._noise = number("noise", noise, most=10)
        self._seed = seed

    def attribute(self, probe: Probe) -> Tensor:
        """See the class."""
        inputs, everything = probe.inputs, tuple(range(1, probe.inputs.ndim))
        spread = self._noise * (inputs.amax(everything, keepdim=True) - inputs.amin(everything, keepdim=True))
        generator = torch.Generator().manual_seed(self._seed)
        total = torch.zeros_like(inputs)
        for _ in range(self._samples):
            noise = torch.randn(inputs.shape[1:], generator=generator).to(inputs)
            total += probe.at(inputs + spread * noise).input_gradient
        return (total / self._samples).abs()
