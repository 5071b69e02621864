# SPDX-License-Identifier: Apache-2.0
"""How large a pixel of a picture is in the patient, where the header says it."""

import math
from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset

Spacing = tuple[float, float]

_CM = 3  # PhysicalUnitsXDirection
_TISSUE = 1  # RegionSpatialFormat: a two-dimensional image, not a curve


def spacing_of(header: Dataset) -> Spacing | None:
    """Return mm between rows and between columns, or nothing where the header does not say it, or not clearly.

    PixelSpacing is that in the patient. ImagerPixelSpacing is that of the detector, and is divided by
    EstimatedRadiographicMagnificationFactor where there is one; else lengths are those on the detector, larger than in
    the patient. Of an ultrasound it is PhysicalDeltaX and PhysicalDeltaY, where all its regions agree.
    """
    if (given := _pair(header.get("PixelSpacing"))) is not None:
        return given
    if (given := _pair(header.get("ImagerPixelSpacing"))) is not None:
        factor = _positive(header.get("EstimatedRadiographicMagnificationFactor")) or 1.0
        return given[0] / factor, given[1] / factor
    regions = {_of_region(region) for region in header.get("SequenceOfUltrasoundRegions") or []}
    return regions.pop() if len(regions) == 1 else None


def _of_region(region: Dataset) -> Spacing | None:
    units = {region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")}
    if region.get("RegionSpatialFormat") != _TISSUE or units != {_CM}:
        return None
    given = _pair([region.get("PhysicalDeltaY"), region.get("PhysicalDeltaX")])
    return None if given is None else (10 * given[0], 10 * given[1])


def _pair(values: Any) -> Spacing | None:
    if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != 2:
        return None
    rows, columns = (_positive(value) for value in values)
    return None if rows is None or columns is None else (rows, columns)


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
