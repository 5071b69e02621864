# SPDX-License-Identifier: Apache-2.0
"""In which part of the image relevance lies: region, ring around it, corners, pieces of the border, rest."""

import math
from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from fedxai.combine.intervals import FEWEST_FOR_INTERVAL, NORMAL, numbered, patient_count
from fedxai.errors import ExplanationError, SettingsError
from fedxai.records import Figure, PlaceSummary

_POOLS = {2: nn.functional.max_pool2d, 3: nn.functional.max_pool3d}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the grid is cut: every axis into ``pieces``; sites with other grids then speak of the same places.

    A voxel belongs to the first that claims it: the ``region``; a corner (the first or last piece of every axis); a
    piece of the border strip; the ``ring`` around the region; the ``rest``. Small places, because a mark is small:
    spread over a whole border its relevance drowns. A volume has 8 corners and 90 border pieces with 5 pieces an
    axis, and 8 and 48 with 4.
    """

    ring: int = 5  # voxels around the region, by the larger of the distances along the axes
    border: float = 0.12  # width of the strip, of the grid's length along each axis
    pieces: int = 5

    def __post_init__(self) -> None:
        if self.ring < 0 or self.pieces < 3 or not 0 < self.border <= 1 / self.pieces:
            raise SettingsError(
                "ring must be >= 0, pieces >= 3 and border at most one piece, "
                f"got {self.ring}, {self.pieces} and {self.border:g}"
            )


def place_names(dims: int, layout: Layout | None = None) -> tuple[str, ...]:
    """All places of a grid with ``dims`` axes: region, ``corner_i_j``, ``border_i_j``, ring, rest.

    ``i_j`` (``i_j_k`` in a volume) counts the pieces along the axes from 0, as the image is stored.
    """
    pieces = (layout or Layout()).pieces
    corners, borders = [], []
    for piece in product(range(pieces), repeat=dims):
        ends = [index in (0, pieces - 1) for index in piece]
        if any(ends):
            (corners if all(ends) else borders).append("_".join(map(str, piece)))
    return ("region", *(f"corner_{c}" for c in corners), *(f"border_{b}" for b in borders), "ring", "rest")


@dataclass(frozen=True, kw_only=True)
class _Row:
    group: str
    shares: "array[float]"  # by place, in the order of the names
    chance: "array[float]"


def place_shares(attribution: Tensor, region: Tensor, *, layout: Layout | None = None) -> dict[str, Tensor]:
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
        >>> shares = place_shares(torch.ones(1, 1, 10, 10), region)
        >>> {name: round(shares[name].item(), 2) for name in ("region", "corner_0_0", "border_0_2", "ring")}
        {'region': 0.04, 'corner_0_0': 0.04, 'border_0_2': 0.02, 'ring': 0.56}
    """
    _check(attribution, region)
    relevance = attribution.detach().as_subclass(Tensor).double().sum(dim=1).flatten(1).abs()
    peak = relevance.amax(dim=1, keepdim=True)
    defined = (peak.isfinite() & (peak > 0)).squeeze(1)
    relevance = (relevance / peak).where(defined[:, None], float("nan"))  # so that no sum overflows
    return _added_up(relevance, region.to(relevance.device), layout or Layout())


def place_chance(region: Tensor, *, layout: Layout | None = None) -> dict[str, Tensor]:
    """The share of the grid in each place, ``(B,)`` in float64: what a map that knows nothing gives.

    Raises:
        ExplanationError: when ``region`` is not ``(B, 1, *spatial)``.
    """
    _check(region, region)
    return _added_up(torch.ones_like(region, dtype=torch.float64).flatten(1), region, layout or Layout())


class PlaceTally:
    """Shares and chance of one saliency method, gathered batch by batch; one number a case and place, never a map.

    Region, ring and rest are averaged over the cases with a region, so that rest means the same at every site.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._rows: dict[int, list[_Row]] = defaultdict(list)

    def add(
        self,
        *,
        shares: Mapping[str, Tensor],
        chance: Mapping[str, Tensor],
        classes: Sequence[int],
        groups: Sequence[str],
    ) -> None:
        """Add cases: values ``(B,)`` by place, the class and the patient of each.

        The class is the case's own, and the maps should explain that class, not the predicted one: where a shortcut
        is strong, other sites' cases of the class are predicted otherwise, and like would not be compared with like.

        Raises:
            ExplanationError: when there is not one value, class and patient per case.
        """
        lengths = {len(values) for values in (*shares.values(), *chance.values(), classes, groups)}
        if len(lengths) != 1:
            raise ExplanationError(f"places need one value, class and patient per case, got {sorted(lengths)} of them")
        self._names = list(shares)
        for index, group, share, level in zip(classes, groups, _rows(shares), _rows(chance), strict=True):
            region, rest = self._names.index("region"), self._names.index("rest")
            if not math.isfinite(level[region]):
                share[rest] = level[rest] = float("nan")
            self._rows[int(index)].append(_Row(group=group, shares=share, chance=level))

    def summaries(self) -> list[PlaceSummary]:
        """One summary a class: means with 95 % intervals, and chance over all cases, also those without a map.

        With r_g the sum of a patient's deviations from the mean of n values, and m patients, the interval is
        ``mean +- 1.96 sqrt(m / (m - 1) sum_g r_g^2) / n`` (cluster-robust), cut at 0 below; none for fewer than five
        patients, whose own values it would tell, and none of the rest where all cases without a region are one
        patient's: shares add up to 1, so it would tell that patient's.
        """
        return [self._summary(index) for index in sorted(self._rows)]

    def _summary(self, index: int) -> PlaceSummary:
        rows = self._rows[index]
        known = [row for row in rows if any(map(math.isfinite, row.shares))]
        shares, chance = {}, {}
        for place, name in enumerate(self._names):
            here = [row for row in known if math.isfinite(row.shares[place])]
            shares[name] = _mean([row.shares[place] for row in here], [row.group for row in here])
            levels = [row.chance[place] for row in rows if math.isfinite(row.chance[place])]
            chance[name] = Figure(value=math.fsum(levels) / len(levels) if levels else None, n=len(levels))
        rest = self._names.index("rest")
        if patient_count([row.group for row in known if not math.isfinite(row.shares[rest])]) == 1:
            shares["rest"] = shares["rest"].model_copy(update={"low": None, "high": None})
        return PlaceSummary(
            class_index=index,
            n=len(known),
            patients=patient_count([row.group for row in known]),
            undefined=len(rows) - len(known),
            shares=shares,
            chance=chance,
        )


def _rows(values: Mapping[str, Tensor]) -> list["array[float]"]:
    """Values by place, one row a case."""
    return [array("d", row) for row in zip(*(column.tolist() for column in values.values()), strict=True)]


def _mean(values: Sequence[float], groups: Sequence[str]) -> Figure:
    if not values:
        return Figure(value=None, n=0)
    array = np.array(values)
    mean = float(array.mean())
    residuals = np.bincount(numbered(groups), weights=array - mean)
    m = len(residuals)
    if m < FEWEST_FOR_INTERVAL:
        return Figure(value=mean, n=len(array))
    half = NORMAL * math.sqrt(m / (m - 1) * float((residuals**2).sum())) / len(array)
    return Figure(value=mean, n=len(array), low=max(0.0, mean - half), high=mean + half)


def _added_up(values: Tensor, region: Tensor, layout: Layout) -> dict[str, Tensor]:
    """Shares ``(B,)`` of the values ``(B, voxels)`` by place; without a region there is no ``region`` and ``ring``."""
    inside = region.detach().as_subclass(Tensor).bool()
    names = place_names(inside.ndim - 2, layout)
    sums = values.new_zeros(len(values), len(names)).scatter_add_(1, _places(inside, names, layout), values)
    shares = dict(zip(names, (sums / values.sum(dim=1, keepdim=True)).unbind(dim=1), strict=True))
    missing = ~inside.flatten(1).any(dim=1)
    return shares | {name: shares[name].masked_fill(missing, float("nan")) for name in ("region", "ring")}


def _places(inside: Tensor, names: Sequence[str], layout: Layout) -> Tensor:
    """The index in ``names`` of each voxel's place, ``(B, voxels)``."""
    rest, ring = names.index("rest"), names.index("ring")
    outer = _outer(inside.shape[2:], names, layout).to(inside.device).expand(inside.shape)
    places = outer.masked_fill((outer == rest) & _dilated(inside, layout.ring), ring)
    return places.masked_fill(inside, names.index("region")).flatten(1)


def _outer(spatial: Sequence[int], names: Sequence[str], layout: Layout) -> Tensor:
    """For every voxel of the grid the index of its corner, of its border piece, or of ``rest``."""
    pieces = tuple(torch.meshgrid(*(_cut(n, layout.pieces) for n in spatial), indexing="ij"))
    near = [torch.minimum(torch.arange(n), torch.arange(n).flip(0)) < max(1, round(layout.border * n)) for n in spatial]
    strip = torch.stack(torch.meshgrid(*near, indexing="ij")).any(dim=0)
    rest = names.index("rest")
    by_piece = torch.full((layout.pieces,) * len(spatial), rest)
    corner = torch.zeros_like(by_piece, dtype=torch.bool)
    for index, name in enumerate(names):
        kind, *piece = name.split("_")
        if piece:
            place = tuple(map(int, piece))
            by_piece[place], corner[place] = index, kind == "corner"
    return by_piece[pieces].where(strip | corner[pieces], rest)


def _cut(length: int, pieces: int) -> Tensor:
    """The piece of each voxel of an axis; one with fewer voxels than pieces still has the first and the last."""
    voxels = torch.arange(length)
    if length >= pieces:
        return voxels * pieces // length
    return (voxels * (pieces - 1) / max(1, length - 1)).round().long()


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
