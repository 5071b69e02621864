# SPDX-License-Identifier: Apache-2.0
"""A contact sheet: a few cases of every class of every site in one picture, regions outlined."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from fedxai.errors import CohortError
from fedxai.intake.cohort import Cohort
from fedxai.intake.evenly import evenly
from fedxai.intake.pixels import to_colour
from fedxai.intake.stored import is_volume, read_values, slice_for_people
from fedxai.records import SPLITS, Case

TILE = 112
_GAP = 4
_MARGIN = 150
_LINE = 22
_PAPER, _INK, _FAINT, _REGION = (250, 250, 250), (30, 30, 30), (120, 120, 120), (255, 140, 0)
_NOTICE = "Images of patients: keep this file inside the site."


def draw_contact_sheet(cohorts: Mapping[str, Cohort], out: Path, *, per_class: int = 8) -> Path:
    """Draw the sheet as a PNG: a row for each class of each site, evenly chosen cases, regions in orange.

    Each image is stretched between its own 1st and 99th percentile, as a viewer does.

    Args:
        cohorts: site name to cohort.
        out: the PNG.
        per_class: columns.

    Raises:
        CohortError: it cannot be written.
    """
    rows = [(site, *kind) for site, cohort in cohorts.items() for kind in _kinds(cohort)]
    width = _MARGIN + per_class * (TILE + _GAP) + _GAP
    height = _LINE + len(rows) * (TILE + _GAP) + _GAP
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=13)
    draw.text((_GAP, _GAP), _NOTICE, fill=_FAINT, font=font)
    for line, (site, name, cases) in enumerate(rows):
        top = _LINE + _GAP + line * (TILE + _GAP)
        draw.text((_GAP, top + 30), f"{site}\n{name}\n{len(cases)} cases", fill=_INK, font=font)
        for column, case in enumerate(evenly(cases, per_class)):
            sheet.paste(_tile(case), (_MARGIN + column * (TILE + _GAP), top))
    try:
        sheet.save(out, format="PNG")
    except OSError as error:
        raise CohortError(f"--out '{out}' cannot be written: {error.strerror or error}.") from None
    return out


def _kinds(cohort: Cohort) -> list[tuple[str, list[Case]]]:
    """What gets a row of its own: each class, or all cases whose labels are maps."""
    cases = [case for split in SPLITS for case in cohort.cases(split)]
    if cohort.task == "segmentation":
        return [("label maps", cases)]
    return [(name, [case for case in cases if case.label == label]) for label, name in enumerate(cohort.class_names)]


def _tile(case: Case) -> Image.Image:
    """Return one case in a square, or a crossed square where it cannot be read."""
    tile = Image.new("RGB", (TILE, TILE), (0, 0, 0))
    try:
        pixels, region, sides = _look(case)
    except CohortError:
        ImageDraw.Draw(tile).line((0, 0, TILE, TILE), fill=_REGION)
        return tile
    picture = Image.fromarray(to_colour(_window(pixels)))
    width, height = picture.width * sides[1], picture.height * sides[0]
    factor = TILE / max(width, height)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    shown = np.array(picture.resize(size, Image.Resampling.BILINEAR))
    if region is not None:
        marked = Image.fromarray(region.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
        shown[_rim(np.asarray(marked) > 0)] = _REGION
    tile.paste(Image.fromarray(shown), ((TILE - size[0]) // 2, (TILE - size[1]) // 2))
    return tile


def _look(case: Case) -> tuple[NDArray[Any], NDArray[np.bool_] | None, tuple[float, float]]:
    """Return what is shown of a case, its region or else what its label map marks, and the sizes of a pixel."""
    values, place = read_values(case.image, what="image")
    path = case.label if case.region is None and isinstance(case.label, Path) else case.region
    mask = None if path is None else np.asarray(read_values(path, what="mask")[0] > 0)
    if is_volume(case.image):
        values, mask, sides = slice_for_people(values, place, mask)
        return (values[..., 0] if values.ndim == 3 and values.shape[2] != 3 else values), mask, sides
    flat = mask if mask is None or mask.ndim == 2 else np.asarray(mask.any(axis=2))
    return values, flat, (1.0, 1.0)


def _window(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = np.percentile(pixels, (1, 99))
    return np.rint(np.clip((pixels - low) / max(high - low, 1e-9), 0, 1) * 255).astype(np.uint8)


def _rim(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels just outside a mask, so that the outline hides none of it."""
    return np.asarray(ndimage.binary_dilation(mask), dtype=np.bool_) & ~mask
