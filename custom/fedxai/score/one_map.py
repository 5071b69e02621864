# SPDX-License-Identifier: Apache-2.0
"""Every score of a batch of maps, and what maps that know nothing reach on the same regions."""

from collections.abc import Callable

import torch
from torch import Tensor

from fedxai.errors import ExplanationError
from fedxai.score.regions import Regions
from fedxai.score.score import SCORES, Score, Seen


def score_map(attribution: Tensor, region: Tensor | Regions) -> dict[str, Tensor]:
    """Every known score of each map of a batch.

    Args:
        attribution: maps ``(B, C, *spatial)``; channels are summed, with their signs, before anything else.
        region: the clinically relevant regions, or ``(B, 1, *spatial)``, boolean or 0 and not 0, of 1 mm voxels.

    Returns:
        By score, ``(B,)`` in float64; NaN where undefined: an empty region where the score needs one, a map of
        zeros or with values that are not finite, or the score's own rule.

    Raises:
        ExplanationError: when the shapes do not fit.

    Example:
        >>> import torch
        >>> region = torch.zeros(1, 1, 2, 2)
        >>> region[0, 0, 0, 0] = 1
        >>> score_map(torch.ones(1, 1, 2, 2), region)["relevance_mass"].item()
        0.25
    """
    regions = _regions(region)
    _check(attribution, regions)
    regions = regions.to(attribution.device)
    relevance = attribution.detach().double().sum(dim=1).flatten(1)
    defined = relevance.isfinite().all(dim=1) & relevance.any(dim=1)
    # undefined maps stand in as ones, so that no score needs to think of them
    seen = Seen(relevance=relevance.where(defined[:, None], 1.0), regions=regions)
    values = _each(seen, lambda score: score.value(seen))
    return {name: found.where(defined, float("nan")) for name, found in values.items()}


def chance(region: Tensor | Regions) -> dict[str, Tensor]:
    """What a map scores that knows nothing: ``(B,)`` in float64 by score; NaN for an empty region it needs.

    Raises:
        ExplanationError: when ``region`` is not ``(B, 1, *spatial)``.
    """
    regions = _regions(region)
    uniform = Seen(relevance=torch.ones_like(regions.inside, dtype=torch.float64), regions=regions)
    return _each(uniform, lambda score: score.chance(uniform))


def centred(region: Tensor | Regions) -> dict[str, Tensor]:
    """What a centred Gaussian scores, ``(B,)`` in float64 by score; NaN for an empty region it needs.

    Raises:
        ExplanationError: when ``region`` is not ``(B, 1, *spatial)``.
    """
    regions = _regions(region)
    gaussian = Seen(relevance=regions.gaussian.expand_as(regions.inside), regions=regions)
    return _each(gaussian, lambda score: score.value(gaussian))


def _each(seen: Seen, ask: Callable[[Score], Tensor]) -> dict[str, Tensor]:
    there = seen.region.any(dim=1)
    scores = {name: SCORES.make(name) for name in SCORES}
    return {
        name: ask(score).where(there, float("nan")) if score.needs_region else ask(score)
        for name, score in scores.items()
    }


def _regions(region: Tensor | Regions) -> Regions:
    return region if isinstance(region, Regions) else Regions.of(region)


def _check(attribution: Tensor, regions: Regions) -> None:
    wanted = (len(regions.inside), *regions.grid)
    if attribution.ndim != len(regions.grid) + 2 or (len(attribution), *attribution.shape[2:]) != wanted:
        raise ExplanationError(
            f"maps and regions must share batch and grid, got {tuple(attribution.shape)} and "
            f"{(wanted[0], 1, *regions.grid)}"
        )
