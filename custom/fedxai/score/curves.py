# SPDX-License-Identifier: Apache-2.0
"""Deletion and insertion curves with imputation, and the maps without knowledge that they are compared with."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fedxai.score.asked import Asked
from fedxai.score.imputation import impute

CELLS = 12  # along each axis
_POOL = {2: functional.adaptive_avg_pool2d, 3: functional.adaptive_avg_pool3d}
SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.55, 0.8, 1.0)


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Areas ``(B,)`` under the probability of the explained class against the share of voxels."""

    deletion: Tensor  # the most relevant voxels are hidden first
    insertion: Tensor  # the most relevant voxels are shown first

    @property
    def gap(self) -> Tensor:
        """How much more the class is seen with the most relevant voxels than without them."""
        return self.insertion - self.deletion


def curves(asked: Asked, relevance: Tensor) -> Curves:
    """Hide or show cells of the image in the order of a map ``(B, *spatial)`` and watch the probability of the class.

    Cells are the image cut into at most 12 along each axis: single voxels are filled from their neighbours too well
    for their removal to mean anything. The order is by a cell's mean signed relevance: what speaks for the class comes
    first. Ties are in random order, the same for every map. Areas are by the trapezoidal rule over the shares 0, .02,
    .05, .1, .2, .35, .55, .8 and 1.

    Source: Petsiuk et al. 2018, arXiv:1806.07421; imputed as in Rong et al. 2022, arXiv:2202.00449.
    """
    place = _places(relevance, asked.generator())
    noise = asked.noise()

    def seen(hidden: Tensor) -> Tensor:
        return asked.probability(impute(asked.inputs, hidden, noise))

    everything = torch.ones_like(place, dtype=torch.bool)
    whole = asked.once("whole", lambda: seen(~everything))
    nothing = asked.once("nothing", lambda: seen(everything))
    inner = SHARES[1:-1]
    deletion = torch.stack([whole, *(seen(place < share) for share in inner), nothing])
    insertion = torch.stack([nothing, *(seen(place >= share) for share in inner), whole])
    shares = torch.tensor(SHARES, dtype=deletion.dtype, device=deletion.device)
    return Curves(
        deletion=torch.trapezoid(deletion, shares, dim=0), insertion=torch.trapezoid(insertion, shares, dim=0)
    )


def own_curves(asked: Asked) -> Curves:
    """Those of the method's own maps, made once."""
    return asked.once("own", lambda: curves(asked, asked.relevance))


def random_curves(asked: Asked) -> Curves:
    """Those of random maps as smooth as the method's, made once."""
    return asked.once("random", lambda: curves(asked, random_like(asked.relevance, asked.white)))


def mirrored_curves(asked: Asked) -> Curves:
    """Those of the method's maps, mirrored at the middle of the image, made once."""
    return asked.once(
        "mirrored", lambda: curves(asked, asked.relevance.flip(dims=tuple(range(1, asked.relevance.ndim))))
    )


def centred_curves(asked: Asked) -> Curves:
    """Those of a centred Gaussian, made once."""
    return asked.once("centred", lambda: curves(asked, asked.gaussian))


def random_like(relevance: Tensor, white: Tensor) -> Tensor:
    """Random maps with the power spectrum of the given ones ``(B, *spatial)``, so as smooth and as rough.

    The phases are those of white noise ``(B, *spatial)``.

    Source: Theiler et al. 1992, Physica D 58 (surrogate data).
    """
    space = tuple(range(1, relevance.ndim))
    phases = torch.fft.rfftn(white, dim=space)
    spectrum = torch.fft.rfftn(relevance, dim=space).abs()
    return torch.fft.irfftn(spectrum * phases / phases.abs(), s=relevance.shape[1:], dim=space)


def _places(relevance: Tensor, generator: torch.Generator) -> Tensor:
    """Where each voxel's cell stands in the order of its map, ``(B, 1, *spatial)``: 0 first, below 1 last."""
    axes = relevance.ndim - 1
    cells = _POOL[axes](relevance[:, None], [min(CELLS, length) for length in relevance.shape[1:]])
    flat = cells.flatten(1)
    # what differs by rounding alone ties, so that a symmetric map and its mirror image have the same order
    flat = (flat / flat.abs().amax(dim=1, keepdim=True).clamp(min=1e-300) * 1e6).round()
    count = flat.shape[1]
    shuffle = torch.randperm(count, generator=generator).to(flat.device)
    order = shuffle[flat[:, shuffle].argsort(dim=1, descending=True, stable=True)]
    steps = torch.arange(count, dtype=flat.dtype, device=flat.device) / count
    places = torch.empty_like(flat).scatter_(1, order, steps.expand_as(flat)).reshape(cells.shape)
    return functional.interpolate(places, size=relevance.shape[1:], mode="nearest-exact")
