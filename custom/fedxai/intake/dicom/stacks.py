# SPDX-License-Identifier: Apache-2.0
"""Frames become volumes: by their place in space, never by file names or InstanceNumber."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedxai.errors import CohortError
from fedxai.intake.dicom.frames import APART, Frame, Vector

_SAME_PLACE = 1e-3  # mm
_SAME_DIRECTION = 1e-3  # of a unit vector
_EVEN = 0.02  # of a gap
_MISSING = 1.5  # times the usual gap
_UPRIGHT = 1e-3  # sideways mm per mm along the normal

Same = Callable[[Frame, Frame], bool]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Frames of one volume in order along their normal.

    Attributes:
        frames: the slices.
        affine: (4, 4), from (column, row, slice) to LPS mm.
        sideways: (2,), how many columns and rows the next slice begins further on; not 0 where the gantry was tilted.
        dropped: slices that were there twice, pixel for pixel.
    """

    frames: tuple[Frame, ...]
    affine: NDArray[np.float64]
    sideways: NDArray[np.float64]
    dropped: int = 0

    @property
    def tilted(self) -> bool:
        """Whether slices are not stacked at right angles to themselves."""
        return bool(np.abs(self.sideways).max() > 0)


def stacks_of(frames: Sequence[Frame], same: Same) -> Iterator[Stack | CohortError]:
    """Sort the frames of one series into volumes; what cannot be one is given back as the reason.

    Frames of other size, orientation, class, image type or units are other volumes. Where several frames lie at
    one place (echoes, b-values, times), the first attributes of :data:`APART` that tell them apart do so.

    Args:
        frames: in any order.
        same: whether two frames at one place have the same pixels.
    """
    for alike in _alike(frames):
        for part in _told_apart(alike):
            try:
                yield _stack(part, same)
            except CohortError as error:
                yield error


def _alike(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Group frames that share the grid within the slice and the kind."""
    groups: dict[tuple[object, ...], list[list[Frame]]] = defaultdict(list)
    for frame in frames:
        candidates = groups[(frame.shape, frame.kind)]
        home = next((group for group in candidates if _parallel(group[0], frame)), None)
        if home is None:
            candidates.append([frame])
        else:
            home.append(frame)
    return [group for candidates in groups.values() for group in candidates]


def _parallel(one: Frame, other: Frame) -> bool:
    return (
        np.allclose(one.along_row, other.along_row, atol=_SAME_DIRECTION)
        and np.allclose(one.along_column, other.along_column, atol=_SAME_DIRECTION)
        and np.allclose(one.spacing, other.spacing, rtol=1e-3)
    )


def _told_apart(frames: list[Frame]) -> list[list[Frame]]:
    """Split frames so that no place is taken twice, by as few attributes as do it."""
    places = Counter(_place(frame) for frame in frames)
    most = max(places.values())
    names: list[int] = []
    for name in range(len(APART)):
        if most == 1:
            break
        values = {frame.apart[name] for frame in frames}
        if 1 < len(values) <= max(places.values()):
            parts = _parts(frames, [*names, name])
            crowded = max(max(Counter(map(_place, part)).values()) for part in parts)
            if crowded < most:
                names, most = [*names, name], crowded
    return _parts(frames, names)


def _parts(frames: Sequence[Frame], names: Sequence[int]) -> list[list[Frame]]:
    parts: dict[tuple[str, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        parts[tuple(frame.apart[name] for name in names)].append(frame)
    return list(parts.values())


def _place(frame: Frame) -> tuple[int, ...]:
    return tuple(int(part) for part in np.rint(frame.position / (_SAME_PLACE * 10)))


def _stack(frames: Sequence[Frame], same: Same) -> Stack:
    normal = frames[0].normal
    ordered = sorted(frames, key=lambda frame: float(frame.position @ normal))
    single = _without_doubles(ordered, same)
    first = single[0]
    step = _step(single, normal)
    straight = normal * float(step @ normal)
    aside = step - straight
    tilted = len(single) > 1 and np.linalg.norm(aside) > _UPRIGHT * np.linalg.norm(straight)
    across, down = first.spacing[1], first.spacing[0]
    affine = np.eye(4)
    affine[:3] = np.stack(
        [first.along_row * across, first.along_column * down, step if tilted else straight, first.position], axis=1
    )
    sideways = np.array([aside @ first.along_row / across, aside @ first.along_column / down])
    return Stack(
        frames=tuple(single),
        affine=affine,
        sideways=sideways if tilted else np.zeros(2),
        dropped=len(ordered) - len(single),
    )


def _without_doubles(ordered: Sequence[Frame], same: Same) -> list[Frame]:
    kept: list[Frame] = []
    for frame in ordered:
        if kept and np.linalg.norm(frame.position - kept[-1].position) < _SAME_PLACE * 10:
            if not same(kept[-1], frame):
                raise CohortError(
                    "ImagePositionPatient is the same for slices with different pixels, and nothing tells them "
                    "apart; export one acquisition a series."
                )
        else:
            kept.append(frame)
    return kept


def _step(frames: Sequence[Frame], normal: Vector) -> Vector:
    """Return the vector from slice to slice, after every check that there is one."""
    if len(frames) == 1:
        if not frames[0].thickness:
            raise CohortError(
                "One slice without SliceThickness and SpacingBetweenSlices has no depth; export it again."
            )
        return normal * frames[0].thickness
    positions = np.stack([frame.position for frame in frames])
    gaps = np.diff(positions @ normal)
    usual = float(np.median(gaps))
    step = (positions[-1] - positions[0]) / (len(frames) - 1)
    places = positions[0] + np.arange(len(frames))[:, None] * step
    if np.linalg.norm(positions - places, axis=1).max() <= _EVEN * usual:
        return step
    smallest = float(gaps.min())
    multiples = gaps / smallest
    if multiples.max() > _MISSING and np.abs(multiples - np.rint(multiples)).max() < 5 * _EVEN:
        missing = int(np.rint(multiples).sum()) - len(gaps)
        raise CohortError(
            f"ImagePositionPatient leaves gaps where {missing} of {missing + len(frames)} slices are missing; "
            "export the series again, complete."
        )
    raise CohortError(
        "ImagePositionPatient is unevenly spaced, so the slices make no regular grid; export an evenly spaced "
        "reconstruction."
    )
