# SPDX-License-Identifier: Apache-2.0
"""What the reading page shows of a case, slices as radiologists hang them beside the bands; and what is drawn on it."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from matplotlib.path import Path
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, TypeAdapter, ValidationError

from fedxai.errors import CohortError
from fedxai.intake.evenly import evenly
from fedxai.intake.resample import onto_grid
from fedxai.intake.volume import Volume
from fedxai.label.bands import NAMES
from fedxai.records import Record
from fedxai.report.overlay import enlarged, overlay, strip, windowed

MOST = 32  # slices of a case that a page brings
_LONGEST = 10_000  # points of an outline
_Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Slices of a case.

    Attributes:
        pngs: of each the image, and beside it the bands over it.
        first: which holds most of the highest band.
        share: of a picture's width that the image takes.
    """

    pngs: list[bytes]
    first: int
    share: float


class Outline(Record):
    """A closed line that a reader drew on a picture."""

    picture: Annotated[int, Field(ge=0)]
    name: Annotated[str, Field(min_length=1, max_length=64)]
    points: Annotated[
        list[tuple[_Share, _Share]], Field(min_length=3, max_length=_LONGEST)
    ]  # right, down; of the image


def outlines_of(told: Any) -> list[Outline]:
    """Outlines as the page sends them, checked.

    Raises:
        CohortError: a rule is broken.
    """
    try:
        return TypeAdapter(Annotated[list[Outline], Field(min_length=1, max_length=1000)]).validate_python(told)
    except ValidationError as error:
        raise CohortError(f"outlines: {error.errors()[0]['msg'].lower()}.") from None


def pictures(image: Volume, banded: NDArray[np.uint8]) -> Pictures:
    """PNGs of slices, one grey window for all.

    Slices run across the axis along which voxels are longest, of equal ones from head to foot: as they were taken.
    The patient's right is on the left, front or head is up. Of many slices some are chosen, evenly.

    Args:
        image: ``(X, Y, Z)``; of several channels the first is shown.
        banded: bands on its grid.
    """
    shown, bands = (_hung(Volume(voxels=voxels, affine=image.affine)) for voxels in (_first(image.voxels), banded))
    axis, chosen = _slices(image.canonical())
    grey = np.moveaxis(windowed(shown.astype(np.float32)), axis, 0)
    bands = np.moveaxis(bands, axis, 0)
    strength = [int((bands[place] == len(NAMES)).sum()) for place in chosen]
    strips = [_beside(grey[place].T, bands[place].T) for place in chosen]
    share = enlarged(np.zeros((*grey[0].T.shape, 3))).shape[1] / strips[0].width
    return Pictures(pngs=[_png(one) for one in strips], first=int(np.argmax(strength)), share=share)


def outlined(outlines: Sequence[Outline], image: Volume) -> tuple[NDArray[np.uint8], dict[str, int]]:
    """A label map on the image's grid of what was drawn on its pictures, and its values by name.

    A picture stands for its slice and for those that are nearer to it than to another picture. What was drawn later
    lies over what was drawn before.

    Raises:
        CohortError: an outline lies on a picture that the image does not have.
    """
    canonical = image.canonical()
    axis, chosen = _slices(canonical)
    if max(outline.picture for outline in outlines) >= len(chosen):
        raise CohortError(f"An outline lies on a picture that is not there; the image has {len(chosen)}.")
    width, height = (length for place, length in enumerate(canonical.grid) if place != axis)
    nearest = np.abs(np.arange(canonical.grid[axis])[:, None] - chosen).argmin(axis=1)
    values = {name: value for value, name in enumerate(dict.fromkeys(outline.name for outline in outlines), start=1)}
    rights, downs = ((np.arange(length) + 0.5) / length for length in (width, height))
    middles = np.stack(np.meshgrid(rights, downs, indexing="ij"), axis=-1).reshape(-1, 2)
    hung = np.zeros((canonical.grid[axis], width, height), dtype=np.uint8)
    for outline in outlines:
        inside = Path(outline.points).contains_points(middles).reshape(width, height)
        hung[(nearest == outline.picture)[:, None, None] & inside] = values[outline.name]
    voxels = np.moveaxis(hung, 0, axis)[::-1, ::-1, ::-1]
    return onto_grid(Volume(voxels=voxels, affine=canonical.affine), image).voxels.astype(np.uint8), values


def _slices(canonical: Volume) -> tuple[int, list[int]]:
    """The axis that slices run across, and which of them are shown."""
    axis = 2 - int(np.argmax(np.round(canonical.spacing, 3)[::-1]))
    return axis, evenly(range(canonical.grid[axis]), MOST)


def _first(voxels: NDArray) -> NDArray:
    return voxels if voxels.ndim == 3 else voxels[..., 0]


def _hung(volume: Volume) -> NDArray:
    """Axes from right to left, front to back, head to foot."""
    return volume.canonical().voxels[::-1, ::-1, ::-1]


def _beside(grey: NDArray, bands: NDArray) -> Image.Image:
    background = enlarged(np.repeat(grey[..., None], 3, axis=-1))
    return strip([background, overlay(background, bands.astype(np.float32), float(len(NAMES)))])


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return content.getvalue()
