# SPDX-License-Identifier: Apache-2.0
"""How alike two maps are: their rank correlation where at least one of them says something."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor


def rank_agreement(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's rank correlation of S with its sign, case by case ``(B,)`` in [-1, 1], over the voxels that count.

    A voxel counts where at least one of the two maps is not 0: an empty background, 0 in both, agrees for reasons
    that have nothing to do with a network. Two maps without any order (constant where they count) are the same
    map, 1; where only one has none they share nothing, 0. NaN where a map has values that are not finite.

    Args:
        first: maps ``(B, *spatial)``.
        second: maps of the same shape.
    """
    pairs = zip(_rows(first), _rows(second), strict=True)
    return torch.tensor([_spearman(a, b) for a, b in pairs], dtype=torch.float64, device=first.device)


def _rows(maps: Tensor) -> NDArray[np.float64]:
    return maps.detach().double().flatten(1).cpu().numpy()


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return float("nan")
    counts = (first != 0) | (second != 0)
    ranks = [rankdata(part[counts]) for part in (first, second)]
    a, b = (rank - rank.mean() if len(rank) else rank for rank in ranks)
    sizes = float(a @ a), float(b @ b)
    if min(sizes) == 0:
        return float(max(sizes) == 0)
    return float(np.clip(a @ b / np.sqrt(sizes[0] * sizes[1]), -1, 1))
