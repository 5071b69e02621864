# SPDX-License-Identifier: Apache-2.0
"""Saliency: how strongly the explained logit reacts to each voxel."""

from torch import Tensor

from fedxai.explain.method import METHODS, Method
from fedxai.explain.probe import Probe


@METHODS.register
class Saliency(Method):
    """``S_i = |df(x; w)/dx_i|``, f = the logit of the explained class.

    Shapes: input and map ``(B, C, *spatial)``; logits per unit of input.

    Source: Simonyan et al. 2014, arXiv:1312.6034.
    """

    name = "saliency"

    def attribute(self, probe: Probe) -> Tensor:
        """See the class."""
        return probe.here.input_gradient.abs()
