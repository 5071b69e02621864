# SPDX-License-Identifier: Apache-2.0
"""What is known on a coarse grid, on a finer one."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import interpolate

_LINEAR = {2: "bilinear", 3: "trilinear"}


def on_grid(cells: Tensor, space: Sequence[int]) -> Tensor:
    """``(B, C, *cells)`` by bi- or trilinear interpolation as ``(B, C, *space)``, with ``align_corners=False``."""
    return interpolate(cells, size=tuple(space), mode=_LINEAR[len(space)], align_corners=False)
