# SPDX-License-Identifier: Apache-2.0
"""In which part of the image relevance lies: region, ring around it, border strip, corners, rest."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fedxai.combine.intervals import group_interval
from fedxai.errors import ExplanationError, SettingsError
from fedxai.records import PLACES, Figure, PlaceName, PlaceSummary

_POOLS = {2: nn.functional.max_pool2d, 3: nn.functional.max_pool3d}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How wide the places are; a voxel that two of them claim belongs to the first of ``PLACES``.

    The border and the corners scale with the grid, so that sites with other grids speak of the same places; a
    corner is a box of ``corner`` of the grid's length along every axis.
    """

    ring: int = 5  # voxels around the region, by the larger of the distances along the axes
    border: float = 0.08  # of the grid's length along each axis, at either end
    corner: float = 0.2

    def __post_init__(self) -> None:
        if self.ring < 0 or not 0 < self.border < 0.5 or not 0 < self.corner < 0.5:
            raise SettingsError(
                "ring must be >= 0, border and corner between 0 and 0.5, "
                f"got {self.ring}, {self.border:g} and {self.corner:g}"
            )


@dataclass(frozen=True, kw_only=True)
class _Row:
    group: str
    shares: dict[str, float]
    chance: dict[str, float]


def place_shares(attribution: Tensor, region: Tensor, *, layout: Layout | None = None) -> dict[PlaceName, Tensor]:
    """The share of |relevance| in each place: ``sum_{i in place} |S_i| / sum_i |S_i|``.

    Args:
        attribution: maps ``(B, C, *spatial)``; channels are summed, with their signs, before anything else.
        region: ``(B, 1, *spatial)``, boolean or 0 and not 0; all zeros: a case without a region.
        layout: how wide the places are.

    Returns:
        By place, ``(B,)`` in float64, adding up to 1 where defined. NaN: ``region`` and ``ring`` of a case without
        a region (its ``rest`` is all that is not border or corner), and everything of a map of zeros or with
        values that are not finite.

    Raises:
        ExplanationError: when the shapes do not fit.

    Example:
        >>> region = torch.zeros(1, 1, 10, 10)
        >>> region[0, 0, 4:6, 4:6] = 1
        >>> {name: round(share.item(), 2) for name, share in place_shares(torch.ones(1, 1, 10, 10), region).items()}
        {'region': 0.04, 'corners': 0.16, 'border': 0.24, 'ring': 0.56, 'rest': 0.0}
    """
    _check(attribution, region)
    relevance = attribution.detach().as_subclass(Tensor).double().sum(dim=1).flatten(1).abs()
    peak = relevance.amax(dim=1, keepdim=True)
    defined = (peak.isfinite() & (peak > 0)).squeeze(1)
    relevance = (relevance / peak).where(defined[:, None], float("nan"))  # so that no sum overflows
    total = relevance.sum(dim=1)
    inside = region.detach().as_subclass(Tensor).to(relevance.device).bool()
    masks = _masks(inside, layout or Layout())
    return _shares({name: (relevance * mask).sum(dim=1) / total for name, mask in masks.items()}, inside)


def place_chance(region: Tensor, *, layout: Layout | None = None) -> dict[PlaceName, Tensor]:
    """The share of the grid in each place, ``(B,)`` in float64: what a map that knows nothing gives.

    Raises:
        ExplanationError: when ``region`` is not ``(B, 1, *spatial)``.
    """
    _check(region, region)
    inside = region.detach().as_subclass(Tensor).bool()
    masks = _masks(inside, layout or Layout())
    return _shares({name: mask.double().mean(dim=1) for name, mask in masks.items()}, inside)


class PlaceTally:
    """Shares and chance of one saliency method, gathered batch by batch; one number a case and place, never a map.

    Region, ring and rest are averaged over the cases with a region, so that rest means the same at every site.
    """

    def __init__(self) -> None:
        self._rows: dict[int, list[_Row]] = defaultdict(list)

    def add(
        self,
        *,
        shares: Mapping[PlaceName, Tensor],
        chance: Mapping[PlaceName, Tensor],
        classes: Sequence[int],
        groups: Sequence[str],
    ) -> None:
        """Add cases: values ``(B,)`` by place, the explained class and the patient of each.

        Raises:
            ExplanationError: when there is not one value, class and patient per case.
        """
        lengths = {len(values) for values in (*shares.values(), *chance.values(), classes, groups)}
        if len(lengths) != 1:
            raise ExplanationError(f"places need one value, class and patient per case, got {sorted(lengths)} of them")
        share_rows, chance_rows = _rows(shares), _rows(chance)
        for index, group, share, level in zip(classes, groups, share_rows, chance_rows, strict=True):
            if math.isnan(share["region"]):
                share["rest"] = float("nan")
            self._rows[int(index)].append(_Row(group=group, shares=share, chance=level))

    def summaries(self, *, seed: int = 0) -> list[PlaceSummary]:
        """One summary an explained class: means with patient-level 95 % intervals, mean chance over the same cases.

        Args:
            seed: of the bootstrap.
        """
        return [self._summary(index, seed) for index in sorted(self._rows)]

    def _summary(self, index: int, seed: int) -> PlaceSummary:
        rows = self._rows[index]
        known = [row for row in rows if math.isfinite(row.shares["border"])]
        shares, chance = {}, {}
        for name in PLACES:
            here = [row for row in known if math.isfinite(row.shares[name])]
            groups = [row.group for row in here]
            shares[name] = _mean([row.shares[name] for row in here], groups, seed)
            levels = [row.chance[name] for row in here]
            chance[name] = Figure(value=math.fsum(levels) / len(levels) if levels else None, n=len(levels))
        return PlaceSummary(
            class_index=index,
            n=len(known),
            patients=len({row.group for row in known if row.group}) + sum(not row.group for row in known),
            undefined=len(rows) - len(known),
            shares=shares,
            chance=chance,
        )


def _rows(values: Mapping[PlaceName, Tensor]) -> list[dict[str, float]]:
    """Values by place, one mapping a case."""
    columns = [values[name].tolist() for name in PLACES]
    return [dict(zip(PLACES, row, strict=True)) for row in zip(*columns, strict=True)]


def _mean(values: Sequence[float], groups: Sequence[str], seed: int) -> Figure:
    if not values:
        return Figure(value=None, n=0)
    array = np.array(values)
    low, high = group_interval(lambda drawn: float(array[drawn].mean()), groups, seed=seed)
    return Figure(value=float(array.mean()), n=len(array), low=low, high=high)


def _shares(values: dict[PlaceName, Tensor], inside: Tensor) -> dict[PlaceName, Tensor]:
    """Without a region there is no ``region`` and no ``ring``."""
    missing = ~inside.flatten(1).any(dim=1)
    return {
        name: share.masked_fill(missing, float("nan")) if name in ("region", "ring") else share
        for name, share in values.items()
    }


def _masks(inside: Tensor, layout: Layout) -> dict[PlaceName, Tensor]:
    """Masks ``(B, voxels)`` that share no voxel, in the order of ``PLACES``."""
    border, corners = (_box(inside, share, how) for share, how in ((layout.border, "any"), (layout.corner, "all")))
    claims: dict[PlaceName, Tensor] = {
        "region": inside,
        "corners": corners,
        "border": border,
        "ring": _dilated(inside, layout.ring),
        "rest": torch.ones_like(inside),
    }
    taken = torch.zeros_like(inside)
    masks = {}
    for name in PLACES:
        masks[name] = (claims[name] & ~taken).flatten(1)
        taken = taken | claims[name]
    return masks


def _box(inside: Tensor, share: float, how: str) -> Tensor:
    """Voxels near either end of any axis (the border strip), or of all axes (the corners): ``(1, 1, *spatial)``."""
    near = torch.full((1, 1, *inside.shape[2:]), how == "all", device=inside.device)
    for axis, length in enumerate(inside.shape[2:], start=2):
        width = max(1, round(share * length))
        place = torch.arange(length, device=inside.device)
        end = ((place < width) | (place >= length - width)).view([-1 if a == axis else 1 for a in range(inside.ndim)])
        near = near & end if how == "all" else near | end
    return near


def _dilated(inside: Tensor, width: int) -> Tensor:
    """Voxels at most ``width`` away along every axis, found one axis after another."""
    grown = inside.float()
    dims = inside.ndim - 2
    for axis in range(dims):
        reach = [width if a == axis else 0 for a in range(dims)]
        grown = _POOLS[dims](grown, [2 * r + 1 for r in reach], stride=1, padding=reach)
    return grown.bool()


def _check(attribution: Tensor, region: Tensor) -> None:
    batch, *rest = region.shape
    if region.ndim not in (4, 5) or rest[0] != 1:
        raise ExplanationError(f"region must be (B, 1, *spatial), got {tuple(region.shape)}")
    if attribution.ndim != region.ndim or (len(attribution), *attribution.shape[2:]) != (batch, *rest[1:]):
        raise ExplanationError(
            f"maps and regions must share batch and grid, got {tuple(attribution.shape)} and {tuple(region.shape)}"
        )
