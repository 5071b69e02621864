# SPDX-License-Identifier: Apache-2.0
"""A virtual scanner: the same anatomy with another contrast, sharpness, noise and field of view."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fedxai.errors import SettingsError
from fedxai.intake.pixels import Pixels

# From gentle to strong; a site gets one level of each, and sites of one study get different ones.
GAMMAS = (0.65, 1.5)
BLURS = (0.0, 0.9)
NOISES = (0.005, 0.04)
SCALES = (0.82, 1.0)


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """How one site's pictures differ: ``y = zoom(blur(x ** gamma)) + noise`` on intensities in [0, 1]."""

    gamma: float = 1.0  # contrast; above 1 darkens the middle
    blur: float = 0.0  # standard deviation in pixels of a 128-pixel image
    noise: float = 0.0  # standard deviation as a share of full intensity
    scale: float = 1.0  # size of the anatomy in the picture, at most 1 so that nothing leaves the frame

    def __post_init__(self) -> None:
        if self.gamma <= 0 or self.blur < 0 or self.noise < 0 or not 0 < self.scale <= 1:
            raise SettingsError(
                "gamma must be > 0, blur and noise >= 0, scale in (0, 1], "
                f"got {self.gamma:g}, {self.blur:g}, {self.noise:g}, {self.scale:g}."
            )

    def describe(self) -> str:
        """Return the parameters in words for a cohort's description."""
        return f"gamma {self.gamma:.2f}, blur {self.blur:.2f} px, noise {self.noise:.3f}, scale {self.scale:.2f}"

    def image(self, pixels: Pixels, *, seed: int) -> Pixels:
        """Picture an image again, (rows, columns[, 3]), in its own depth; the seed draws the noise."""
        full = np.iinfo(pixels.dtype).max
        values = (pixels.astype(np.float64) / full) ** self.gamma
        sigma = self.blur * min(pixels.shape[:2]) / 128
        values = ndimage.gaussian_filter(values, sigma=(sigma, sigma, 0)[: pixels.ndim])
        values = self._zoom(values, order=1)
        values += np.random.default_rng(seed).normal(0.0, self.noise, values.shape)
        return np.rint(np.clip(values, 0, 1) * full).astype(pixels.dtype)

    def region(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Move a region (0 / 255) as the image is moved; it never vanishes."""
        share = self._zoom(np.asarray(mask > 0, dtype=np.float64), order=1)
        return np.where(share >= min(0.5, float(share.max())), 255, 0).astype(np.uint8) * bool(mask.any())

    def _zoom(self, values: NDArray[np.float64], *, order: int) -> NDArray[np.float64]:
        """Shrink about the centre within the same frame; the rim repeats the border."""
        if self.scale == 1:
            return values
        centre = (np.array(values.shape[:2]) - 1) / 2
        keywords: dict[str, Any] = {"offset": centre - centre / self.scale, "order": order, "mode": "nearest"}
        channels = values[..., None] if values.ndim == 2 else values
        moved = [
            ndimage.affine_transform(channels[..., c], np.full(2, 1 / self.scale), **keywords)
            for c in range(channels.shape[2])
        ]
        return moved[0] if values.ndim == 2 else np.stack(moved, axis=-1)


def site_scanners(sites: int, *, seed: int) -> list[Scanner]:
    """Give every site a scanner: each parameter's levels are spread evenly and dealt in a drawn order."""
    rng = np.random.default_rng([seed, 3])
    gammas = np.geomspace(*GAMMAS, sites)[rng.permutation(sites)]
    blurs, noises, scales = (np.linspace(*ends, sites)[rng.permutation(sites)] for ends in (BLURS, NOISES, SCALES))
    return [
        Scanner(gamma=float(g), blur=float(b), noise=float(n), scale=float(s))
        for g, b, n, s in zip(gammas, blurs, noises, scales, strict=True)
    ]
