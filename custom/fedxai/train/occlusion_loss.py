# SPDX-License-Identifier: Apache-2.0
"""The occlusion mass as a loss: what is hidden outside the region should not change the answer."""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, avg_pool3d, max_pool2d, max_pool3d

from fedxai.explain.body import body
from fedxai.explain.undisturbed import evaluating

_SHARE = {2: avg_pool2d, 3: avg_pool3d}
_MOST = {2: max_pool2d, 3: max_pool3d}
_LARGEST = 12  # a window's sides are at most a 12th of the image's, and at least half of that
_TINY = 1e-6


def occlusion_loss(
    network: nn.Module,
    logits: Tensor,
    labels: Tensor,
    image: Tensor,
    region: Tensor,
    *,
    black: float = 0.0,
    outside: int = 2,
) -> Tensor:
    """``-log O_j``, O_j an estimate of the share of case j's occlusion map that lies in its region.

    A window w that is hidden (black) changes the label's logit by ``d_w = |f(x) - f(x without w)|``, and the part s_w
    of it lies in the region. Over all windows of one size that hide some of the body

    ``O = I / (I + J)``, ``I = sum_w s_w d_w``, ``J = sum_w (1 - s_w) d_w``.

    Both sums are estimated without bias: I from one window drawn in proportion to s_w, J from ``outside`` windows drawn
    in proportion to 1 - s_w. What the energy loss asks of infinitesimal changes, this asks of real ones, and it needs
    no gradient of a gradient: one pass over ``1 + outside`` more images a case.

    Args:
        network: maps images to logits; asked in evaluation mode, in which an answer depends on its image alone.
        logits: ``(B, K)``, of ``image`` in evaluation mode, with their graph.
        labels: ``(B,)``.
        image: ``(B, C, *spatial)``.
        region: ``(B, 1, *spatial)``, not 0 inside.
        black: the lower end of the network's input range, with which windows are hidden.
        outside: windows drawn for J.

    Returns:
        ``(B,)``; 0 where the region is empty.

    Source: the map is that of Zeiler and Fergus 2014, arXiv:1311.2901; its share in the region as a loss is ours.
    """
    image, spatial = image.detach(), image.shape[2:]
    scale = float(torch.rand(())) / 2 + 0.5
    window = [max(1, round(scale * side / _LARGEST)) for side in spatial]
    inside = _SHARE[len(spatial)]((region > 0).float(), window, stride=1)
    some_body = _MOST[len(spatial)](body(image, black).float(), window, stride=1)
    here, there = inside.flatten(1), ((1 - inside).clamp(min=0) * some_body).flatten(1)
    places = torch.cat([_drawn(here, 1), _drawn(there, outside)], dim=1)
    hidden = _windows(places.flatten(), inside.shape[2:], window, spatial).unflatten(0, places.shape)
    without = torch.where(hidden[:, :, None], black, image[:, None])  # (B, windows, C, *spatial)
    with evaluating(network):
        answers = network(without.flatten(0, 1)).unflatten(0, places.shape)
    change = (logits[:, None] - answers).gather(2, labels[:, None, None].expand(*places.shape, 1))[..., 0].abs()
    within, around = here.sum(dim=1) * change[:, 0], there.sum(dim=1) * change[:, 1:].mean(dim=1)
    share = within / (within + around + _TINY)
    return (-torch.log(share + 1e-4)).where(here.any(dim=1), 0.0)


def _drawn(weights: Tensor, number: int) -> Tensor:
    """Indices ``(B, number)`` drawn in proportion to the weights, the same one perhaps twice; any where all are 0."""
    some = weights.any(dim=1, keepdim=True)
    return torch.multinomial(torch.where(some, weights, 1.0), number, replacement=True)


def _windows(places: Tensor, positions: torch.Size, window: list[int], spatial: torch.Size) -> Tensor:
    """Masks ``(N, *spatial)`` of the windows at these places, indices into all positions of a window's first corner."""
    masks = torch.ones(len(places), *[1] * len(spatial), dtype=torch.bool, device=places.device)
    for axis, corner in enumerate(torch.unravel_index(places, positions)):
        along = torch.arange(spatial[axis], device=places.device)
        covered = (along >= corner[:, None]) & (along < corner[:, None] + window[axis])
        masks = masks & covered.reshape(-1, *[size if at == axis else 1 for at, size in enumerate(spatial)])
    return masks
