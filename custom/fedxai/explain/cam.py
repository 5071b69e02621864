# SPDX-License-Identifier: Apache-2.0
"""What the class activation maps share: the target layer of the one shared pass, brought onto the input's grid."""

from abc import abstractmethod

from torch import Tensor

from fedxai.explain.grid import on_grid
from fedxai.explain.method import Method
from fedxai.explain.probe import Probe


class ActivationMap(Method):
    """A map of the target layer's cells, then bi- or trilinear interpolation with ``align_corners=False``.

    A_k is channel k of the target layer's output ``(B, K, *cells)``, g_k = df/dA_k its gradient, f the explained
    number. No pass beyond the shared one. Shapes: input ``(B, C, *spatial)``, map ``(B, 1, *spatial)``.
    """

    needs_layer = True

    @abstractmethod
    def cells(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """From A and g ``(B, K, *cells)`` to the map ``(B, 1, *cells)`` on the layer's own grid."""

    def attribute(self, probe: Probe) -> Tensor:
        """See the class."""
        return on_grid(self.cells(*probe.here.layer), probe.inputs.shape[2:])
