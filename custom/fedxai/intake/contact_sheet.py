# SPDX-License-Identifier: Apache-2.0
"""A contact sheet: a few cases of every class of every site in one picture, regions outlined."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from fedxai.errors import CohortError
from fedxai.intake.cohort import Cohort
from fedxai.intake.pixels import Pixels, read_image, read_region, to_colour
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
    rows = [(site, name, label) for site, c in cohorts.items() for label, name in enumerate(c.class_names)]
    width = _MARGIN + per_class * (TILE + _GAP) + _GAP
    height = _LINE + len(rows) * (TILE + _GAP) + _GAP
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=13)
    draw.text((_GAP, _GAP), _NOTICE, fill=_FAINT, font=font)
    for line, (site, name, label) in enumerate(rows):
        top = _LINE + _GAP + line * (TILE + _GAP)
        cases = [case for split in SPLITS for case in cohorts[site].cases(split) if case.label == label]
        draw.text((_GAP, top + 30), f"{site}\n{name}\n{len(cases)} cases", fill=_INK, font=font)
        for column, case in enumerate(_evenly(cases, per_class)):
            sheet.paste(_tile(case), (_MARGIN + column * (TILE + _GAP), top))
    try:
        sheet.save(out, format="PNG")
    except OSError as error:
        raise CohortError(f"--out '{out}' cannot be written: {error.strerror or error}.") from None
    return out


def _evenly(cases: list[Case], count: int) -> list[Case]:
    places = np.unique(np.linspace(0, len(cases) - 1, min(count, len(cases))).round().astype(int))
    return [cases[i] for i in places] if cases else []


def _tile(case: Case) -> Image.Image:
    """Return one case in a square, or a crossed square where it cannot be read."""
    tile = Image.new("RGB", (TILE, TILE), (0, 0, 0))
    try:
        pixels = read_image(case.image, what="image")
        region = None if case.region is None else read_region(case.region, what="region", size=pixels.shape)
    except CohortError:
        ImageDraw.Draw(tile).line((0, 0, TILE, TILE), fill=_REGION)
        return tile
    picture = Image.fromarray(to_colour(_window(pixels)))
    factor = TILE / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    shown = np.array(picture.resize(size, Image.Resampling.BILINEAR))
    if region is not None:
        shown[_rim(np.asarray(Image.fromarray(region).resize(size, Image.Resampling.NEAREST)) > 0)] = _REGION
    tile.paste(Image.fromarray(shown), ((TILE - size[0]) // 2, (TILE - size[1]) // 2))
    return tile


def _window(pixels: Pixels) -> NDArray[np.uint8]:
    low, high = np.percentile(pixels, (1, 99))
    return np.rint(np.clip((pixels - low) / max(high - low, 1), 0, 1) * 255).astype(np.uint8)


def _rim(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels just outside a mask, so that the outline hides none of it."""
    return np.asarray(ndimage.binary_dilation(mask), dtype=np.bool_) & ~mask
