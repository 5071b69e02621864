# SPDX-License-Identifier: Apache-2.0
"""Every score of a batch of maps, and the chance level beside it."""

from torch import Tensor

from fedxai.errors import ExplanationError
from fedxai.score.score import SCORES, Seen


def score_map(attribution: Tensor, region: Tensor) -> dict[str, Tensor]:
    """Every known score of each map of a batch.

    Args:
        attribution: maps ``(B, C, *spatial)``; channels are summed, with their signs, before anything else.
        region: ``(B, 1, *spatial)``, boolean or 0 and not 0: the clinically relevant region.

    Returns:
        By score, ``(B,)`` in float64; NaN where undefined: an empty region, a map of zeros or with values
        that are not finite, or the score's own rule.

    Raises:
        ExplanationError: when the shapes do not fit.

    Example:
        >>> import torch
        >>> region = torch.zeros(1, 1, 2, 2)
        >>> region[0, 0, 0, 0] = 1
        >>> score_map(torch.ones(1, 1, 2, 2), region)["relevance_mass"].item()
        0.25
    """
    _check(attribution, region)
    inside = _flat_region(region).to(attribution.device)
    relevance = attribution.detach().double().sum(dim=1).flatten(1)
    defined = relevance.isfinite().all(dim=1) & relevance.any(dim=1) & inside.any(dim=1)
    # undefined maps stand in as ones, so that no score needs to think of them
    seen = Seen(relevance=relevance.where(defined[:, None], 1.0), region=inside)
    return {name: SCORES.make(name).value(seen).where(defined, float("nan")) for name in SCORES}


def chance(region: Tensor) -> dict[str, Tensor]:
    """What a map that knows nothing scores, ``(B,)`` in float64 by score; NaN for an empty region.

    Raises:
        ExplanationError: when ``region`` is not ``(B, 1, *spatial)``.
    """
    _check(region, region)
    inside = _flat_region(region)
    return {name: SCORES.make(name).chance(inside).where(inside.any(dim=1), float("nan")) for name in SCORES}


def _flat_region(region: Tensor) -> Tensor:
    return region.detach().as_subclass(Tensor).bool().flatten(1)


def _check(attribution: Tensor, region: Tensor) -> None:
    batch, *rest = region.shape
    if region.ndim not in (4, 5) or rest[0] != 1:
        raise ExplanationError(f"region must be (B, 1, *spatial), got {tuple(region.shape)}")
    if attribution.ndim != region.ndim or (len(attribution), *attribution.shape[2:]) != (batch, *rest[1:]):
        raise ExplanationError(
            f"maps and regions must share batch and grid, got {tuple(attribution.shape)} and {tuple(region.shape)}"
        )
