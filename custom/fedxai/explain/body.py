# SPDX-License-Identifier: Apache-2.0
"""Where in an image there is a patient, and not only what lies around."""

from torch import Tensor

_SHARE = 0.05


def body(image: Tensor, black: float = 0.0) -> Tensor:
    """``x > black + 0.05 (max x - black)``, each image by its own brightest voxel; of any channel.

    Args:
        image: ``(B, C, *spatial)``.
        black: the lower end of the network's input range.

    Returns:
        ``(B, 1, *spatial)``, True in the body; nowhere in a black image.
    """
    above = image.amax(dim=1, keepdim=True) - black
    brightest = above.flatten(1).amax(dim=1).view(-1, *[1] * (image.ndim - 1))
    return above > _SHARE * brightest.clamp(min=0)
