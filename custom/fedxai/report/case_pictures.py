# SPDX-License-Identifier: Apache-2.0
"""A case as pictures: its image and its maps over it, the region outlined; of a volume three planes."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedxai.report.examined import Examined
from fedxai.report.overlay import Cut, cuts, grey, magnitude, outlined, overlay, plane, strip, strongest


def shown_planes(case: Examined) -> list[Cut]:
    """The planes that the pictures of a case show."""
    return cuts(np.asarray(case.image), None if case.region is None else np.asarray(case.region))


def image_picture(case: Examined) -> Image.Image:
    """The image in grey (or its colours) with the region's outline."""
    image, region = np.asarray(case.image), _region(case)
    return strip([outlined(grey(image, cut), _plane(region, cut)) for cut in shown_planes(case)])


def map_pictures(case: Examined, methods: Iterable[str]) -> dict[str, Image.Image]:
    """By method, the map in colour over the image; one colour scale for all planes of a map."""
    image, region, planes = np.asarray(case.image), _region(case), shown_planes(case)
    backgrounds = [grey(image, cut) for cut in planes]
    pictures = {}
    for method in methods:
        whole = magnitude(np.asarray(case.maps[method]), image.shape[1:])
        top = strongest(whole)
        tiles = [
            outlined(overlay(background, plane(whole, cut), top), _plane(region, cut))
            for background, cut in zip(backgrounds, planes, strict=True)
        ]
        pictures[method] = strip(tiles)
    return pictures


def _region(case: Examined) -> NDArray | None:
    if case.region is None:
        return None
    return np.reshape(np.asarray(case.region) > 0, np.asarray(case.image).shape[1:])


def _plane(region: NDArray | None, cut: Cut) -> NDArray | None:
    return None if region is None else plane(region, cut)
