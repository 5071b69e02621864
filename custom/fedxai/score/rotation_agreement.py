# SPDX-License-Identifier: Apache-2.0
"""Rotation agreement: whether a map turns with the image when a head lies a little askew."""

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, avg_pool3d, grid_sample

from fedxai.score.asked import Asked
from fedxai.score.model_score import MODEL_SCORES, ModelScore, level
from fedxai.score.similarity import rank_agreement

DEGREES = 5.0
_POOL = {2: avg_pool2d, 3: avg_pool3d}


@MODEL_SCORES.register
class RotationAgreement(ModelScore):
    """Rank agreement between the map, turned by 5 degrees, and the map of the image turned by 5 degrees.

    In [-1, 1], see :func:`~fedxai.score.similarity.rank_agreement`. Turned about the middle in the plane of the last
    two axes, in millimetres, linearly interpolated, black beyond the image, compared where the turned image has voxels;
    both maps are then averaged over 4 voxels along each axis, so that interpolation counts little. Chance: 0. A centred
    Gaussian's level is that of its turned self.

    Source: equivariance as in Crabbé and van der Schaar 2023, arXiv:2304.06715.
    """

    name = "rotation_agreement"
    direction = "higher"
    range = (-1.0, 1.0)

    def value(self, asked: Asked) -> Tensor:
        """See the class."""
        image = turned(asked.inputs - asked.black, spacing=asked.spacing) + asked.black
        after = asked.explain(image, moved=True)
        return _agreement(asked.relevance, after, asked.spacing)

    def chance(self, asked: Asked) -> Tensor:
        """See the class."""
        return level(asked, 0.0)

    def centred(self, asked: Asked) -> Tensor:
        """See the class."""
        return _agreement(asked.gaussian, asked.gaussian, asked.spacing)


def turned(images: Tensor, degrees: float = DEGREES, *, spacing: Tensor | None = None) -> Tensor:
    """Images ``(B, C, *spatial)`` turned about their middle in the plane of the last two axes; 0 beyond.

    Args:
        images: what is turned.
        degrees: how far.
        spacing: mm from voxel to voxel ``(B, axes)``; None: as if voxels were cubes.
    """
    axes = images.ndim - 2
    lengths = torch.tensor(images.shape[2:]) * (torch.ones(len(images), axes) if spacing is None else spacing)
    rows, columns = lengths.to(images)[:, -2:].unbind(dim=1)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # affine_grid counts in half image sizes and names the last axis first
    matrix = torch.eye(axes, axes + 1, dtype=images.dtype, device=images.device).repeat(len(images), 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = cosine
    matrix[:, 0, 1], matrix[:, 1, 0] = -sine * rows / columns, sine * columns / rows
    return grid_sample(images, affine_grid(matrix, list(images.shape), align_corners=False), align_corners=False)


def _agreement(before: Tensor, after: Tensor, spacing: Tensor | None) -> Tensor:
    expected = turned(before[:, None], spacing=spacing)
    inside = (turned(torch.ones_like(expected), spacing=spacing) > 0.999).to(expected)
    pool = _POOL[before.ndim - 1]
    size = [min(4, length) for length in before.shape[1:]]
    return rank_agreement(*(pool(maps * inside, size)[:, 0] for maps in (expected, after[:, None])))
