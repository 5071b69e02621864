# SPDX-License-Identifier: Apache-2.0
"""A saliency map over its image: the slice to show, the colours, the outline of the region."""

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation

TILE = 288  # pixels on the longer side of a tile
COLOURS = "inferno"  # perceptually uniform, and safe for colour-blind readers
_OUTLINE = (86, 180, 233)
_STRONGEST = 0.8  # opacity of the map where it is largest


def shown_slice(image: NDArray, region: NDArray | None) -> int | None:
    """The slice of a volume ``(C, D, H, W)`` to show: most region, else the middle; None for a 2D image."""
    if image.ndim == 3:
        return None
    if region is not None and np.any(region):
        return int((np.reshape(region, image.shape[1:]) > 0).sum(axis=(1, 2)).argmax())
    return image.shape[1] // 2


def plane(array: NDArray, spatial: tuple[int, ...], slice_: int | None) -> NDArray:
    """The magnitude of a map ``(C, *spatial)`` or ``(*spatial)`` as one 2D plane, channels summed."""
    magnitude = np.abs(np.nan_to_num(np.asarray(array, dtype=np.float32)))
    if magnitude.ndim == len(spatial) + 1:
        magnitude = magnitude.sum(axis=0)
    return magnitude if slice_ is None else magnitude[slice_]


def grey(image: NDArray, slice_: int | None) -> NDArray:
    """The image as RGB ``(H, W, 3)`` in [0, 255], stretched between its 0.5 and 99.5 percentiles."""
    shown = np.asarray(image if slice_ is None else image[:, slice_], dtype=np.float32)
    shown = shown if shown.shape[0] == 3 else np.repeat(shown[:1], 3, axis=0)
    low, high = np.percentile(shown, (0.5, 99.5))
    scaled = np.clip((shown - low) / max(float(high - low), 1e-12), 0, 1)
    return _enlarge(np.moveaxis(scaled, 0, -1))


def overlay(background: NDArray, magnitude: NDArray) -> NDArray:
    """The map in colour over the enlarged image; its 99th percentile is the strongest colour.

    Opacity grows with the map, so that the image shows through where the map says little.
    """
    top = float(np.percentile(magnitude, 99)) or float(magnitude.max())
    share = np.clip(magnitude / top, 0, 1) if top > 0 else np.zeros_like(magnitude)
    share = _enlarge(np.repeat(share[..., None], 3, axis=-1))[..., 0] / 255
    colour = colormaps[COLOURS](share)[..., :3] * 255
    opacity = (_STRONGEST * np.sqrt(share))[..., None]
    return background * (1 - opacity) + colour * opacity


def outlined(picture: NDArray, region: NDArray | None) -> NDArray:
    """The picture with the region's outline in blue on a dark rim."""
    if region is None or not np.any(region):
        return picture
    mask = Image.fromarray(region > 0).resize((picture.shape[1], picture.shape[0]), Image.Resampling.NEAREST)
    inside = np.asarray(mask)
    rim = binary_dilation(inside, iterations=4) & ~inside
    line = binary_dilation(inside, iterations=3) & ~inside
    drawn = picture.copy()
    drawn[rim] = 20
    drawn[line] = _OUTLINE
    return drawn


def strip(tiles: list[NDArray], *, gap: int = 8) -> Image.Image:
    """Tiles of one size beside each other on white."""
    height, width = tiles[0].shape[:2]
    sheet = Image.new("RGB", (len(tiles) * (width + gap) - gap, height), "white")
    for index, tile in enumerate(tiles):
        sheet.paste(Image.fromarray(np.clip(tile, 0, 255).astype(np.uint8)), (index * (width + gap), 0))
    return sheet


def colour_steps(steps: int = 9) -> list[str]:
    """The colours from weak to strong as hex codes, for a legend."""
    samples = (colormaps[COLOURS](np.linspace(0, 1, steps))[:, :3] * 255).round().astype(int)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in samples]


def _enlarge(rgb: NDArray) -> NDArray:
    """``(H, W, 3)`` in [0, 1] to [0, 255] with the longer side ``TILE`` pixels."""
    height, width = rgb.shape[:2]
    factor = TILE / max(height, width)
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    picture = Image.fromarray((rgb * 255).round().astype(np.uint8))
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
