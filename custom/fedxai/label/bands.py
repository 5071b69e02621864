# SPDX-License-Identifier: Apache-2.0
"""Saliency as bands: a label map of low, mid and high relevance, which every viewer can show."""

from collections.abc import Iterable

import torch
from torch import Tensor

from fedxai.errors import ExplanationError

NAMES = ("saliency low", "saliency mid", "saliency high")
QUANTILES = (0.80, 0.90, 0.97)


def bands(relevance: Tensor, quantiles: tuple[float, ...] = QUANTILES) -> Tensor:
    """``band_i = #{b : |S_i| > q_b}``, q_b the b-th quantile of |S| over the map: 0 none, 1 low, 2 mid, 3 high.

    Quantiles, because methods have scales of their own; a voxel as relevant as a threshold lies below it, so that a
    map without relief has no bands.

    Args:
        relevance: ``(1, *spatial)``.
        quantiles: thresholds, rising, one a band.

    Returns:
        ``(1, *spatial)`` in uint8.

    Raises:
        ExplanationError: the map is not finite, or there are not three rising thresholds inside (0, 1).

    Example:
        >>> bands(torch.arange(100.0).reshape(1, 10, 10)).unique(return_counts=True)[1].tolist()
        [80, 10, 7, 3]
    """
    if len(quantiles) != len(NAMES) or not all(0 < q < 1 for q in quantiles) or list(quantiles) != sorted(quantiles):
        raise ExplanationError(f"bands need {len(NAMES)} rising quantiles between 0 and 1, got {quantiles}")
    size = relevance.detach().double().abs()
    if not bool(size.isfinite().all()):
        raise ExplanationError("the map must be finite, got NaN or infinity; choose another method")
    ordered = size.flatten().sort().values  # torch.quantile takes no more than 16 million voxels
    thresholds = [ordered[min(int(q * len(ordered)), len(ordered)) - 1] for q in quantiles]
    return torch.stack([size > threshold for threshold in thresholds]).sum(dim=0).to(torch.uint8)


def is_band(name: str) -> bool:
    """Whether a label's name is a band's, in whatever way viewers write it: they save what they were shown, too."""
    plain = " ".join(name.lower().replace("_", " ").replace("-", " ").split())
    return plain in NAMES


def without_bands(names: Iterable[str]) -> list[str]:
    """The names that people gave."""
    return [name for name in names if not is_band(name)]
