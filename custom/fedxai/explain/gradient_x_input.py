# SPDX-License-Identifier: Apache-2.0
"""Gradient x input (Eq. 4): how much each voxel contributes to the explained logit, to first order."""

from torch import Tensor

from fedxai.explain.method import METHODS, Method
from fedxai.explain.probe import Probe


@METHODS.register
class GradientXInput(Method):
    """``S_i = df(x; w)/dx_i * x_i`` (Eq. 4), f = the logit of the explained class.

    The map depends on the input's zero: what is 0 gets no relevance, so inputs are scaled with black at 0.
    Shapes: input and map ``(B, C, *spatial)``; logits.

    Source: Shrikumar et al. 2017, arXiv:1605.01713.
    """

    name = "gradient_x_input"

    def attribute(self, probe: Probe) -> Tensor:
        """See the class."""
        return probe.here.input_gradient * probe.inputs
