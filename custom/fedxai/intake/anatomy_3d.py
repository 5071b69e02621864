# SPDX-License-Identifier: Apache-2.0
"""The 3D phantom's pictures: blocks of brain-like tissue whose truth is known, one voxel a cubic millimetre."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

LESION_CLASSES = ("layered", "rimmed", "nodular")
STRUCTURES = ("background", "anterior", "posterior")
LESION_SPACE, STRUCTURE_SPACE = (48, 48, 48), (36, 48, 36)  # mm; right-left, posterior-anterior, inferior-superior
_LESION, _DISTRACTOR = (9.0, 12.0), (4.5, 7.0)  # radius in mm
_SHAPED, _SHAPELESS = (0.20, 0.26), (0.14, 0.26)  # contrast of what tells a class, and of what tells none

Block = NDArray[np.floating]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class _Ball:
    """A rounded outline: a lesion's or a distractor's."""

    centre: NDArray[np.float64]  # mm from the middle of the block
    radius: float
    depth: Block  # 0 at the centre, 1 on the outline

    @property
    def inside(self) -> Mask:
        return self.depth < 1


def draw_lesion(label: int, rng: np.random.Generator) -> tuple[Block, Mask]:
    """Draw a block of brain with one lesion, and the region of the lesion.

    Position, size, brightness and contrast of the lesion are drawn alike for all classes, and the values inside it
    have the same distribution whatever the class: only their arrangement tells it. Up to three smaller distractors
    hold shapeless texture.

    Args:
        label: 0 parallel layers, 1 a bright rim around a dark core, 2 nodules in three directions.
        rng: draws everything.

    Returns:
        Intensities (48, 48, 48) about in [0, 1], and the region (48, 48, 48).
    """
    distance, image = _lobe(rng)
    lesion = _place(distance, _LESION, [], rng) or _ball(np.zeros(3), _LESION[0], rng)
    _fill(image, lesion.inside, _arrangement(label, lesion, rng), rng.uniform(*_SHAPED), rng)
    placed = [lesion]
    for _ in range(int(rng.integers(1, 4))):
        ball = _place(distance, _DISTRACTOR, placed, rng)
        if ball is not None:
            _fill(image, ball.inside, _fractal(LESION_SPACE, rng), rng.uniform(*_SHAPELESS), rng)
            placed.append(ball)
    return image, lesion.inside


def draw_structure(rng: np.random.Generator) -> tuple[Block, NDArray[np.uint8]]:
    """Draw a bent tube, thick in front and thin behind as a hippocampus, and the map of its two parts.

    The parts differ in nothing but place and thickness. Fluid lies along the tube, and two neighbours have its
    brightness, so that a threshold finds neither part.

    Returns:
        Intensities (36, 48, 36) about in [0, 1], and labels (36, 48, 36): 0 background, 1 anterior, 2 posterior.
    """
    right, front, up = _grid(STRUCTURE_SPACE)
    bend, rise, side = rng.uniform(3, 6), rng.uniform(-4, 4), rng.choice([-1.0, 1.0])
    along = (front - rng.uniform(-2, 2)) / rng.uniform(17, 20)  # -1 at the back end, 1 at the front end
    middle = side * bend * (along**2 - 0.4) + rng.uniform(-2.5, 2.5), rise * along + rng.uniform(-2.5, 2.5)
    across, above = right - middle[0], up - middle[1]
    wavy = 1 + 0.10 * _fractal(STRUCTURE_SPACE, rng, fall=2.2)
    thickness = rng.uniform(5.2, 6.2) + rng.uniform(1.2, 2.2) * np.tanh(2 * along)
    tube = np.sqrt((across / 1.25) ** 2 + above**2 + (np.maximum(np.abs(along) - 0.85, 0) * 30) ** 2) * wavy / thickness
    inside = tube < 1
    cut = rng.uniform(0.05, 0.25) + 0.02 * above
    labels = np.where(inside, np.where(along > cut, 1, 2), 0).astype(np.uint8)
    return _around(tube * thickness - thickness, (across, front, above), rng), labels


def _around(depth: Block, place: tuple[Block, Block, Block], rng: np.random.Generator) -> Block:
    """White matter, the tube (``depth`` mm outside its surface), fluid above it, and two look-alikes."""
    across, front, above = place
    grey = rng.uniform(0.46, 0.54)
    image = rng.uniform(0.62, 0.70) + 0.05 * _fractal(STRUCTURE_SPACE, rng)
    texture = grey + 0.05 * _fractal(STRUCTURE_SPACE, rng)
    below = np.hypot(across / 2.2, above + rng.uniform(10, 12)) - rng.uniform(3.0, 4.0)
    before = np.sqrt(across**2 + (front - rng.uniform(21, 24)) ** 2 + (above - 5) ** 2) - rng.uniform(5.5, 7.5)
    for surface in (below, before, depth):
        image = image + (texture - image) * _soft(-surface)
    fluid = np.hypot(across / 2, above - rng.uniform(8.0, 9.5)) - rng.uniform(1.5, 2.5)
    return image + (0.15 - image) * _soft(-fluid) * (depth > 0)


@cache
def _grid(space: tuple[int, ...]) -> tuple[Block, ...]:
    """Millimetres from the middle of the block, along each axis."""
    return tuple(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in space), indexing="ij"))


@cache
def _falling(space: tuple[int, ...], fall: float) -> Block:
    """The spectrum's amplitude: frequency to the power of ``-fall``, no constant part."""
    axes = [*(np.fft.fftfreq(n) for n in space[:-1]), np.fft.rfftfreq(space[-1])]
    frequency = np.sqrt(sum(f**2 for f in np.meshgrid(*axes, indexing="ij")))
    return np.where(frequency > 0, np.maximum(frequency, 1 / max(space)) ** -fall, 0)


def _fractal(space: tuple[int, ...], rng: np.random.Generator, fall: float = 1.6) -> Block:
    """Draw noise whose spectrum falls with frequency, mean 0, standard deviation 1."""
    white = np.fft.rfftn(rng.standard_normal(space))
    noise = np.fft.irfftn(white * _falling(space, fall), s=space, axes=range(len(space)))
    return noise / noise.std()


def _soft(depth: Block) -> Block:
    """Step from 0 to 1 over about two millimetres."""
    return 1 / (1 + np.exp(-2 * np.clip(depth, -20, 20)))


def _lobe(rng: np.random.Generator) -> tuple[Block, Block]:
    """Return the distance from the middle in units of the inner skull, and skull, fluid, cortex and white matter."""
    axes = [(axis - rng.uniform(-1.5, 1.5)) / rng.uniform(20.5, 23) for axis in _grid(LESION_SPACE)]
    wavy = 1 + 0.04 * _fractal(LESION_SPACE, rng, fall=2.5)
    distance = np.sqrt(sum(axis**2 for axis in axes)) * wavy
    depth = (1 - distance) * 22
    noise = _fractal(LESION_SPACE, rng)
    brain = rng.uniform(0.38, 0.46) + 0.045 * noise + 0.10 * np.tanh(2 * noise) * (depth < 5)
    image = 0.10 + 0.03 * np.tanh(_fractal(LESION_SPACE, rng)) + rng.uniform(0.3, 0.5) * _soft(depth + 3)
    image = image - (image - 0.12) * _soft(depth + 0.5)
    return distance, image + (brain - image) * _soft(depth - 1.5)


def _place(distance: Block, sizes: tuple[float, float], taken: list[_Ball], rng: np.random.Generator) -> _Ball | None:
    """Draw an outline inside the brain and apart from what is there already; ``None`` if thirty tries fail."""
    for _ in range(30):
        centre, radius = rng.uniform(-15, 15, 3), rng.uniform(*sizes)
        at = tuple(np.rint(centre + (np.array(LESION_SPACE) - 1) / 2).astype(int))
        fits = distance[at] < 1 - radius / 22
        if fits and all(np.linalg.norm(centre - b.centre) > 1.15 * (radius + b.radius) for b in taken):
            return _ball(centre, radius, rng)
    return None


def _ball(centre: NDArray[np.float64], radius: float, rng: np.random.Generator) -> _Ball:
    offsets = [axis - at for axis, at in zip(_grid(LESION_SPACE), centre, strict=True)]
    wavy = 1 + 0.06 * _fractal(LESION_SPACE, rng, fall=2.5)
    return _Ball(centre=centre, radius=radius, depth=np.sqrt(sum(o**2 for o in offsets)) * wavy / radius)


def _arrangement(label: int, lesion: _Ball, rng: np.random.Generator) -> Block:
    """Return the class's arrangement of values: only their order matters, see :func:`_fill`."""
    noise = _fractal(LESION_SPACE, rng)
    turn, period = rng.uniform(0, np.pi), rng.uniform(7.0, 9.0)
    phases = rng.uniform(0, 2 * np.pi, 3)
    x, y, z = (axis - at for axis, at in zip(_grid(LESION_SPACE), lesion.centre, strict=True))
    lean = rng.uniform(-0.3, 0.3)  # the layers stand about upright, so that thick slices keep them
    directions = (np.cos(turn) * x + np.sin(turn) * y + lean * z, np.cos(turn) * y - np.sin(turn) * x, z)
    waves = [
        np.sin((d + 0.4 * noise) * 2 * np.pi / period + phase) for d, phase in zip(directions, phases, strict=True)
    ]
    if label == 0:
        pattern = waves[0]
    elif label == 1:
        pattern = 3 * lesion.depth + 0.4 * noise
    else:
        pattern = waves[0] * waves[1] * waves[2]
    return pattern + 0.2 * rng.standard_normal(noise.shape)


def _fill(image: Block, inside: Mask, pattern: Block, contrast: float, rng: np.random.Generator) -> None:
    """Put a pattern inside an outline, its values replaced by evenly spaced ones of the same rank."""
    count = int(inside.sum())
    ranks = np.empty(count)
    ranks[np.argsort(pattern[inside], kind="stable")] = np.linspace(-1, 1, count)
    image[inside] = rng.uniform(0.30, 0.36) + contrast * ranks
