# SPDX-License-Identifier: Apache-2.0
"""Grad-CAM++: Grad-CAM whose channel weights do not favour large objects over small ones."""

import torch
from torch import Tensor

from fedxai.explain.cam import ActivationMap
from fedxai.explain.method import METHODS


@METHODS.register
class GradCamPlusPlus(ActivationMap):
    """``L = ReLU(sum_k w_k A_k)``, ``w_k = sum_p a_kp ReLU(g_kp)``, ``a_kp = g_kp^2 / (2 g_kp^2 + g_kp^3 sum_q A_kq)``.

    p and q run over the cells; a_kp is 0 where its denominator is. Symbols and shapes:
    :class:`~fedxai.explain.cam.ActivationMap`. The paper explains ``Y = exp(f)``, whose derivatives are
    ``exp(f) g, exp(f) g^2, exp(f) g^3`` where the network is piecewise linear above the layer: exp(f) cancels in
    a_kp, and as one positive factor of the whole map it is left out of w_k, so that nothing overflows.

    Source: Chattopadhay et al. 2018, arXiv:1710.11063, equations 10, 11 and 19.
    """

    name = "grad_cam_plus_plus"

    def cells(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """See the class."""
        space = tuple(range(2, activation.ndim))
        # numerator and denominator divided by g^2, whose third power would underflow in single precision
        below = 2 + gradient * activation.sum(dim=space, keepdim=True)
        share = torch.where((below == 0) | (gradient == 0), 0.0, 1 / below)
        weights = (share * gradient.relu()).sum(dim=space, keepdim=True)
        return (weights * activation).sum(dim=1, keepdim=True).relu()
