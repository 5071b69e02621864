# SPDX-License-Identifier: Apache-2.0
"""LayerCAM: each cell weighted by its own positive gradient, so that early layers give fine maps too."""

from torch import Tensor

from fedxai.explain.cam import ActivationMap
from fedxai.explain.method import METHODS


@METHODS.register
class LayerCam(ActivationMap):
    """``L = ReLU(sum_k ReLU(g_k) A_k)``, cell by cell.

    Symbols and shapes: :class:`~fedxai.explain.cam.ActivationMap`; never negative.

    Source: Jiang et al. 2021, IEEE Transactions on Image Processing 30, doi:10.1109/TIP.2021.3089943.
    """

    name = "layer_cam"

    def cells(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """See the class."""
        return (gradient.relu() * activation).sum(dim=1, keepdim=True).relu()
