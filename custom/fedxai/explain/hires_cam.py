# SPDX-License-Identifier: Apache-2.0
"""HiResCAM: only the cells that the network used, each with its own gradient."""

from torch import Tensor

from fedxai.explain.cam import ActivationMap
from fedxai.explain.method import METHODS


@METHODS.register
class HiresCam(ActivationMap):
    """``L = sum_k g_k A_k``, cell by cell: the gradient is not averaged over space first.

    Signed: negative cells speak against the class. Where one linear layer follows the target layer, the cells sum
    to the logit without its bias. Symbols and shapes: :class:`~fedxai.explain.cam.ActivationMap`.

    Source: Draelos & Carin 2020, arXiv:2011.08891.
    """

    name = "hires_cam"

    def cells(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """See the class."""
        return (gradient * activation).sum(dim=1, keepdim=True)
