# SPDX-License-Identifier: Apache-2.0
"""A saliency map over its image: the planes to show, the colours, the outline of the region."""

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation

Cut = tuple[int, int] | None  # axis and index of a plane of a volume; None: the plane of a 2D image

TILE = 288  # pixels on the longer side of a tile
COLOURS = "inferno"  # perceptually uniform, and safe for colour-blind readers
_OUTLINE = (86, 180, 233)
_STRONGEST = 0.8  # opacity of the map where it is largest


def cuts(image: NDArray, region: NDArray | None) -> list[Cut]:
    """The planes of ``(C, *spatial)`` to show: of a 2D image the one there is, of a volume one across each axis.

    A volume is cut where the region is largest across that axis, else in its middle.
    """
    spatial = image.shape[1:]
    if len(spatial) == 2:
        return [None]
    if region is None or not np.any(region):
        return [(axis, size // 2) for axis, size in enumerate(spatial)]
    inside = np.reshape(region, spatial) > 0
    others = ((1, 2), (0, 2), (0, 1))
    return [(axis, int(inside.sum(axis=rest).argmax())) for axis, rest in enumerate(others)]


def magnitude(array: NDArray, spatial: tuple[int, ...]) -> NDArray:
    """``|S|`` of a map ``(C, *spatial)`` or ``(*spatial)``, channels summed; what is not finite counts as 0."""
    whole = np.abs(np.nan_to_num(np.asarray(array, dtype=np.float32), posinf=0, neginf=0))
    return whole.sum(axis=0) if whole.ndim == len(spatial) + 1 else whole


def strongest(whole: NDArray) -> float:
    """What the strongest colour stands for: the 99th percentile of the whole map, else its maximum."""
    return float(np.percentile(whole, 99)) or float(whole.max())


def plane(whole: NDArray, cut: Cut) -> NDArray:
    """One 2D plane of ``(*spatial)``."""
    return whole if cut is None else whole.take(cut[1], axis=cut[0])


def windowed(image: NDArray) -> NDArray:
    """Values in [0, 1], from the image's 0.5 to its 99.5 percentile."""
    low, high = np.percentile(image, (0.5, 99.5))
    return np.clip((image - low) / max(float(high - low), 1e-12), 0, 1)


def grey(image: NDArray, cut: Cut) -> NDArray:
    """A plane of ``(C, *spatial)`` as RGB ``(H, W, 3)`` in [0, 255], between its 0.5 and 99.5 percentiles."""
    shown = np.asarray(image if cut is None else image.take(cut[1], axis=cut[0] + 1), dtype=np.float32)
    shown = shown if shown.shape[0] == 3 else np.repeat(shown[:1], 3, axis=0)
    return enlarged(np.moveaxis(windowed(shown), 0, -1))


def overlay(background: NDArray, shown: NDArray, top: float) -> NDArray:
    """A plane of the map in colour over the enlarged image; ``top`` and above is the strongest colour."""
    share = np.clip(shown / top, 0, 1) if top > 0 else np.zeros_like(shown)
    return blended(background, enlarged(np.repeat(share[..., None], 3, axis=-1))[..., 0] / 255)


def blended(background: NDArray, share: NDArray) -> NDArray:
    """A map in colour over what lies below it; opacity grows with the map: where it says little, the image shows.

    Args:
        background: ``(H, W, 3)``, or ``(H, W, 1)`` in grey, in [0, 255].
        share: ``(H, W)``, of the strongest colour, in [0, 1].

    Returns:
        RGB ``(H, W, 3)`` in [0, 255].
    """
    opacity = (_STRONGEST * np.sqrt(share))[..., None]
    return background * (1 - opacity) + 255 * colormaps[COLOURS](share)[..., :3] * opacity


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
    """Tiles beside each other on white, each in the middle of the height."""
    height, width = max(len(tile) for tile in tiles), sum(tile.shape[1] + gap for tile in tiles) - gap
    sheet = Image.new("RGB", (width, height), "white")
    left = 0
    for tile in tiles:
        picture = Image.fromarray(np.clip(tile, 0, 255).astype(np.uint8))
        sheet.paste(picture, (left, (height - picture.height) // 2))
        left += picture.width + gap
    return sheet


def colour_steps(steps: int = 9) -> list[str]:
    """The colours from weak to strong as hex codes, for a legend."""
    samples = (colormaps[COLOURS](np.linspace(0, 1, steps))[:, :3] * 255).round().astype(int)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in samples]


def enlarged(rgb: NDArray) -> NDArray:
    """``(H, W, 3)`` in [0, 1] to [0, 255] with the longer side ``TILE`` pixels."""
    height, width = rgb.shape[:2]
    factor = TILE / max(height, width)
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    picture = Image.fromarray((rgb * 255).round().astype(np.uint8))
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
