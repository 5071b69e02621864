# SPDX-License-Identifier: Apache-2.0
"""Integrated gradients: the difference to a baseline, added up along the straight line between them."""

import numpy as np
import torch
from torch import Tensor

from fedxai.explain.baseline import AgainstBaseline
from fedxai.explain.method import METHODS, count, number
from fedxai.explain.probe import Probe

_GRADING = 8.0


@METHODS.register
class IntegratedGradients(AgainstBaseline):
    """``S_i = (x_i - b_i) int_0^1 df(b + t (x - b))/dx_i dt``, so that ``sum_i S_i = f(x) - f(b)``.

    The integral is a quadrature, and the sum exact up to its error: Gauss-Legendre in u with
    ``t = (e^(g u) - 1) / (e^g - 1)``, so that nodes lie e^g times denser at the baseline than at the image; g = 0 is
    Gauss-Legendre in t, as Captum's. ``steps`` passes and the shared one, one step in memory at a time. A network that
    normalises each image (group, instance, layer norm) all but jumps where the image is nearly constant: of a trained
    GroupNorm network of brain slices the sum from black was off by 1.43 times the largest difference at 50 steps with
    g = 0, by 0.02 with g = 8, by 0.005 from the mean image.
    Shapes: input and map ``(B, C, *spatial)``; logits.

    Args:
        steps: nodes of the quadrature.
        baseline: see :class:`~fedxai.explain.baseline.AgainstBaseline`.
        grading: g; default: 8 from black, which is constant, else 0.

    Raises:
        SettingsError: when steps is no positive number, the baseline is unknown or grading is no number from 0 to 20.

    Source: Sundararajan et al. 2017, arXiv:1703.01365.
    """

    name = "integrated_gradients"

    def __init__(self, *, steps: int = 50, baseline: str = "black", grading: float | None = None) -> None:
        super().__init__(baseline=baseline)
        if grading is None:
            grading = _GRADING if baseline == "black" else 0.0
        self._nodes = _graded(count("steps", steps), number("grading", grading, most=20))

    def attribute(self, probe: Probe) -> Tensor:
        """See the class."""
        reference = self.reference(probe)
        difference = probe.inputs - reference
        mean_gradient = torch.zeros_like(probe.inputs)
        for node, weight in self._nodes:
            mean_gradient.add_(probe.at(reference + difference * node).input_gradient, alpha=weight)
        return difference * mean_gradient


def _graded(steps: int, grading: float) -> list[tuple[float, float]]:
    """Nodes t in (0, 1) and their weights, whose sum is 1 however few they are."""
    u, weights = np.polynomial.legendre.leggauss(steps)
    u, weights = (u + 1) / 2, weights / 2  # from the interval -1..1
    if grading:
        whole = np.expm1(grading)
        u, weights = np.expm1(grading * u) / whole, weights * np.exp(grading * u)
        weights /= weights.sum()
    return list(zip(u.tolist(), weights.tolist(), strict=True))
