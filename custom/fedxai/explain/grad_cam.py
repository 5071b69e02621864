# SPDX-License-Identifier: Apache-2.0
"""Grad-CAM: where the features that speak for the explained class are active."""

from torch import Tensor

from fedxai.explain.cam import ActivationMap
from fedxai.explain.method import METHODS


@METHODS.register
class GradCam(ActivationMap):
    """``L = ReLU(sum_k a_k A_k)``, ``a_k`` the mean over space of ``g_k``.

    Symbols and shapes: :class:`~fedxai.explain.cam.ActivationMap`. ReLU comes before the interpolation, as in
    Captum's ``LayerGradCam(relu_attributions=True)`` followed by ``LayerAttribution.interpolate``; never negative.

    Source: Selvaraju et al. 2017, arXiv:1610.02391.
    """

    name = "grad_cam"

    def cells(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """See the class."""
        weights = gradient.flatten(2).mean(dim=2).view(*gradient.shape[:2], *[1] * (gradient.ndim - 2))
        return (weights * activation).sum(dim=1, keepdim=True).relu()
