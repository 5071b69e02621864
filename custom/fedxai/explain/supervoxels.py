# SPDX-License-Identifier: Apache-2.0
"""Supervoxels: an image of any number of dimensions cut into a regular grid of boxes."""

from collections.abc import Sequence

import torch
from torch import Tensor


def supervoxels(space: Sequence[int], wanted: int) -> Tensor:
    """The number of the box that each voxel lies in ``(*space)``, 0 to M - 1, on the CPU.

    Every axis is cut into the same number of parts, the D-th root of what is wanted, rounded; but never into more
    parts than it has voxels. Parts of one axis differ by at most a voxel.

    Example:
        >>> supervoxels((2, 4), 4)
        tensor([[0, 0, 1, 1],
                [2, 2, 3, 3]])
    """
    parts = max(1, round(wanted ** (1 / len(space))))
    labels = torch.zeros(*space, dtype=torch.long)
    for axis, length in enumerate(space):
        cuts = min(parts, length)
        along = torch.arange(length) * cuts // length
        labels = labels * cuts + along.view(-1, *[1] * (len(space) - axis - 1))
    return labels
