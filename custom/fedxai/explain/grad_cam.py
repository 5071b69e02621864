# SPDX-License-Identifier: Apache-2.0
"""Grad-CAM: where the features that speak for the explained class are active."""

from torch import Tensor
from torch.nn.functional import interpolate

from fedxai.explain.method import METHODS, Method
from fedxai.explain.probe import Probe

_LINEAR = {2: "bilinear", 3: "trilinear"}


@METHODS.register
class GradCam(Method):
    """``L = ReLU(sum_k a_k A_k)``, ``a_k`` the mean over space of ``df/dA_k``, brought onto the input's grid.

    A_k is channel k of the target layer's output ``(B, K, *cells)``, f the logit of the explained class. ReLU
    comes before the bi- or trilinear interpolation, which runs with ``align_corners=False``, as in Captum's
    ``LayerGradCam(relu_attributions=True)`` followed by ``LayerAttribution.interpolate``.
    Shapes: input ``(B, C, *spatial)``, map ``(B, 1, *spatial)``; never negative.

    Source: Selvaraju et al. 2017, arXiv:1610.02391.
    """

    name = "grad_cam"
    needs_layer = True

    def attribute(self, probe: Probe) -> Tensor:
        """See the class."""
        activation, gradient = probe.here.layer
        space = tuple(range(2, activation.ndim))
        weights = gradient.mean(dim=space, keepdim=True)
        cam = (weights * activation).sum(dim=1, keepdim=True).relu()
        return interpolate(cam, size=probe.inputs.shape[2:], mode=_LINEAR[len(space)], align_corners=False)
