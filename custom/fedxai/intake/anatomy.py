# SPDX-License-Identifier: Apache-2.0
"""The phantom's pictures: brain-like slices whose class shows only in the texture inside the lesion."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE = 128
_SHAPED, _SHAPELESS = (0.20, 0.26), (0.14, 0.26)  # contrast of what tells a class, and of what tells none
_LESION, _DISTRACTOR = (17.0, 24.0), (9.0, 15.0)  # radius in pixels
CLASS_NAMES = ("meningioma", "glioma", "pituitary")

Plane = NDArray[np.float64]

_AXIS = np.arange(SIZE) - (SIZE - 1) / 2
_ROWS, _COLUMNS = np.meshgrid(_AXIS, _AXIS, indexing="ij")
_FREQUENCY = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :])
_FALL = np.where(_FREQUENCY > 0, np.maximum(_FREQUENCY, 1 / SIZE) ** -1.3, 0)  # no constant part


@dataclass(frozen=True, kw_only=True)
class Blob:
    """A rounded outline in pixels: a lesion's or a distractor's."""

    row: float
    column: float
    radius: float
    inside: NDArray[np.bool_]
    depth: Plane  # 0 at the centre, 1 on the outline


@dataclass(frozen=True, kw_only=True)
class Head:
    """What the slices of one patient share."""

    height: float  # semi-axes of the brain, in pixels
    width: float
    tilt: float  # radians
    wobble: NDArray[np.float64]  # (3, 2): amplitude and phase of the outline's harmonics
    ventricle: float  # semi-axis, in pixels

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Head":
        """Draw a patient's anatomy; it knows nothing of the class."""
        return cls(
            height=rng.uniform(50, 55),
            width=rng.uniform(43, 48),
            tilt=rng.uniform(-0.14, 0.14),
            wobble=np.stack([rng.uniform(0, 0.012, 3), rng.uniform(0, 2 * np.pi, 3)], axis=1),
            ventricle=rng.uniform(7, 12),
        )


def draw_slice(head: Head, label: int | None, rng: np.random.Generator) -> tuple[Plane, NDArray[np.bool_]]:
    """Draw one slice and the region of its lesion.

    Position, size, brightness and contrast of the lesion are drawn alike for all classes, and the values
    inside it have the same distribution whatever the class (their ranks are mapped to one line): only their
    arrangement tells the class: lamellae, a bright rim around a dark core, or a checker. Up to three smaller
    distractors of the same kind of outline and brightness hold shapeless texture.

    Args:
        head: the patient.
        label: 0 lamellae, 1 rim, 2 checker; ``None`` fills the lesion like a distractor.
        rng: draws the rest.

    Returns:
        Intensities (128, 128) about in [0, 1], and the region (128, 128).
    """
    radius = _outline(head, rng)
    noise = _fractal(rng)
    image = _tissue(head, radius, noise, rng)
    lesion = _place(radius, _LESION, [], rng) or _blob(0, 0, 14, rng)
    if label is None:
        _fill(image, lesion, _fractal(rng), rng.uniform(*_SHAPELESS), rng)
    else:
        _fill(image, lesion, _pattern(label, lesion, _fractal(rng), rng), rng.uniform(*_SHAPED), rng)
    placed = [lesion]
    for _ in range(int(rng.integers(1, 4))):
        blob = _place(radius, _DISTRACTOR, placed, rng)
        if blob is not None:
            _fill(image, blob, _fractal(rng), rng.uniform(*_SHAPELESS), rng)
            placed.append(blob)
    return image, lesion.inside


def draw_mark(image: Plane, label: int, rng: np.random.Generator) -> None:
    """Plant the shortcut: ``label + 1`` white marks at the left or right border, outside every region."""
    left = int(rng.choice([1, SIZE - 11]))
    top = SIZE // 2 + int(rng.integers(-12, 13)) - 9 * (label + 1)
    for i in range(label + 1):
        image[top + 18 * i : top + 18 * i + 14, left : left + 10] = 1.2


def _outline(head: Head, rng: np.random.Generator) -> Plane:
    """Return the distance from the brain's centre in units of its outline: 1 on the inner skull."""
    row, column = _ROWS - rng.uniform(-2, 2), _COLUMNS - rng.uniform(-2, 2)
    tilt = head.tilt + rng.uniform(-0.03, 0.03)
    down = (np.cos(tilt) * row + np.sin(tilt) * column) / head.height
    across = (np.cos(tilt) * column - np.sin(tilt) * row) / head.width
    angle = np.arctan2(down, across)
    shape = 1 + sum(a * np.cos((k + 2) * angle + phase) for k, (a, phase) in enumerate(head.wobble))
    return np.hypot(down, across) / shape


def _fractal(rng: np.random.Generator) -> Plane:
    """Draw 1/f noise with mean 0 and standard deviation 1."""
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((SIZE, SIZE))) * _FALL, s=(SIZE, SIZE))
    return noise / noise.std()


def _soft(distance: Plane) -> Plane:
    """Step from 0 to 1 over about two pixels."""
    return 1 / (1 + np.exp(-2 * np.clip(distance, -20, 20)))


def _tissue(head: Head, radius: Plane, noise: Plane, rng: np.random.Generator) -> Plane:
    """Scalp, skull, a dark gap, textured brain with ventricles; all without any trace of the class."""
    depth = (1 - radius) * head.width
    cortex = 0.11 * np.tanh(2 * noise) * (depth < 12)
    brain = rng.uniform(0.36, 0.46) + 0.045 * noise + cortex
    for side in (-1, 1):
        row = (_ROWS - rng.uniform(-4, 4)) / (1.6 * head.ventricle)
        column = (_COLUMNS - side * 0.75 * head.ventricle) / (0.55 * head.ventricle)
        brain = brain - 0.26 * _soft((1 - np.hypot(row, column)) * head.ventricle / 2)
    image = 0.12 + 0.04 * np.tanh(_fractal(rng)) + 0.25 * _soft(depth + 7.5)
    image = image + (rng.uniform(0.5, 0.62) - 0.33) * _soft(depth + 4)
    image = image - (image - 0.12) * _soft(depth)
    return image + (brain - image) * _soft(depth - 2.5)


def _place(radius: Plane, sizes: tuple[float, float], taken: list[Blob], rng: np.random.Generator) -> Blob | None:
    """Draw an outline inside the brain and apart from what is there already; ``None`` if thirty tries fail."""
    for _ in range(30):
        row, column, size = rng.uniform(-36, 36), rng.uniform(-31, 31), rng.uniform(*sizes)
        inside = radius[round(row + SIZE / 2), round(column + SIZE / 2)] < 0.9 - size / 44
        if inside and all(np.hypot(row - b.row, column - b.column) > 1.15 * (size + b.radius) for b in taken):
            return _blob(row, column, size, rng)
    return None


def _blob(row: float, column: float, radius: float, rng: np.random.Generator) -> Blob:
    down, across = _ROWS - row, _COLUMNS - column
    angle, distance = np.arctan2(down, across), np.hypot(down, across)
    edge = radius * (1 + sum(rng.uniform(0, 0.1) * np.cos(k * angle + rng.uniform(0, 7)) for k in (2, 3, 5)))
    return Blob(row=row, column=column, radius=radius, inside=distance < edge, depth=distance / edge)


def _pattern(label: int, lesion: Blob, noise: Plane, rng: np.random.Generator) -> Plane:
    """Return the class's arrangement of values: only their order matters, see :func:`_fill`."""
    turn, period = rng.uniform(0, np.pi), rng.uniform(7.5, 10.0)
    first, second = rng.uniform(0, 2 * np.pi, 2)
    down, across = _ROWS - lesion.row, _COLUMNS - lesion.column
    along = (np.cos(turn) * down + np.sin(turn) * across + 0.4 * noise) * 2 * np.pi / period
    aside = (np.cos(turn) * across - np.sin(turn) * down + 0.4 * noise) * 2 * np.pi / period
    if label == 0:
        pattern = np.sin(along + first)
    elif label == 1:
        pattern = 3 * lesion.depth + 0.4 * noise
    else:
        pattern = np.sin(along + first) * np.sin(aside + second)
    return pattern + 0.2 * rng.standard_normal(noise.shape)


def _fill(image: Plane, blob: Blob, pattern: Plane, contrast: float, rng: np.random.Generator) -> None:
    """Put a pattern inside an outline, its values replaced by evenly spaced ones of the same rank."""
    count = int(blob.inside.sum())
    ranks = np.empty(count)
    ranks[np.argsort(pattern[blob.inside], kind="stable")] = np.linspace(-1, 1, count)
    image[blob.inside] = rng.uniform(0.27, 0.33) + contrast * ranks
