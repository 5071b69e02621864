# SPDX-License-Identifier: Apache-2.0
"""One frame of a cross-sectional series: where it lies, how its numbers are scaled, what tells it apart."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from fedxai.errors import CohortError

Vector = NDArray[np.float64]

APART = (
    "EchoTime",
    "EffectiveEchoTime",
    "EchoNumbers",
    "DiffusionBValue",
    "InversionTime",
    "FlipAngle",
    "DiffusionGradientOrientation",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "FrameReferenceTime",
    "AcquisitionNumber",
    "TriggerTime",
    "AcquisitionTime",
    "ContentTime",
)
_MACROS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "FrameContentSequence",
    "MREchoSequence",
    "MRDiffusionSequence",
    "MRImageFrameTypeSequence",
    "CTImageFrameTypeSequence",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """A frame; vectors are in DICOM's patient coordinates (LPS), mm.

    Attributes:
        path, index: the file and the frame in it, from 0.
        instance: its SOPInstanceUID.
        shape: rows, columns.
        position: middle of the first pixel.
        along_row, along_column: unit vectors to the next column and to the next row.
        spacing: mm between rows, between columns.
        thickness: mm from slice to slice where there is one slice only; 0 if nothing says.
        slope, intercept: real value = slope * stored + intercept.
        kind: what all frames of one volume share besides the grid (class, image type, units, frame of reference).
        apart: values of :data:`APART`, which tell volumes at the same place apart.
    """

    path: Path
    index: int
    instance: str
    shape: tuple[int, int]
    position: Vector
    along_row: Vector
    along_column: Vector
    spacing: tuple[float, float]
    thickness: float
    slope: float
    intercept: float
    kind: tuple[str, ...]
    apart: tuple[str, ...]

    @property
    def normal(self) -> Vector:
        """Unit vector across the slice, to the right hand of rows and columns."""
        return np.cross(self.along_row, self.along_column)


def frames_of(header: Dataset, path: Path) -> list[Frame]:
    """List the frames of a file of a cross-sectional series.

    Raises:
        CohortError: an attribute of the geometry or of the scale is missing or makes no sense.
    """
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise CohortError("SamplesPerPixel says that slices hold colours, not measured numbers; leave the series out.")
    if "PerFrameFunctionalGroupsSequence" in header:
        return [_frame(header, path, i, levels) for i, levels in enumerate(_groups(header))]
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise CohortError(
            "NumberOfFrames is above 1, but PerFrameFunctionalGroupsSequence does not say where the frames lie; "
            "export the study as single slices or as enhanced multi-frame."
        )
    return [_frame(header, path, 0, [header])]


def _groups(header: Dataset) -> Iterator[list[Dataset]]:
    """Per frame, where to look for an attribute: the frame's macros, those of all frames, the file itself."""
    shared = list(header.get("SharedFunctionalGroupsSequence") or [])
    for group in header.PerFrameFunctionalGroupsSequence:
        levels = [group, *shared]
        inner = [item for level in levels for name in _MACROS for item in (level.get(name) or [])[:1]]
        yield [*inner, header]


def _frame(header: Dataset, path: Path, index: int, levels: Sequence[Dataset]) -> Frame:
    along_row, along_column = _orientation(levels)
    rows, columns = (int(_need(header, name)) for name in ("Rows", "Columns"))
    return Frame(
        path=path,
        index=index,
        instance=str(header.get("SOPInstanceUID") or ""),
        shape=(rows, columns),
        position=_vector(levels, "ImagePositionPatient", 3),
        along_row=along_row,
        along_column=along_column,
        spacing=_spacing(levels),
        thickness=_thickness(levels),
        slope=_number(levels, "RescaleSlope", 1.0),
        intercept=_number(levels, "RescaleIntercept", 0.0),
        kind=_kind(header, levels),
        apart=tuple(str(_get(levels, name)) for name in APART),
    )


def _kind(header: Dataset, levels: Sequence[Dataset]) -> tuple[str, ...]:
    image_type = [str(word) for word in (_get(levels, "FrameType") or header.get("ImageType") or [])]
    own = [str(header.get(name)) for name in ("SOPClassUID", "Units", "FrameOfReferenceUID")]
    return (*own, str(_get(levels, "StackID")), *image_type[:1], *image_type[2:])


def _orientation(levels: Sequence[Dataset]) -> tuple[Vector, Vector]:
    cosines = _vector(levels, "ImageOrientationPatient", 6)
    row, column = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > 0.01 or abs(row @ column) > 0.01:
        raise CohortError("ImageOrientationPatient is not two unit vectors at right angles; export the study again.")
    return row / lengths[0], column / lengths[1]


def _spacing(levels: Sequence[Dataset]) -> tuple[float, float]:
    down, across = _vector(levels, "PixelSpacing", 2)
    if min(down, across) <= 0:
        raise CohortError("PixelSpacing is not above 0; export the study again.")
    return float(down), float(across)


def _thickness(levels: Sequence[Dataset]) -> float:
    sizes = (_number(levels, name, 0.0) for name in ("SpacingBetweenSlices", "SliceThickness"))
    return next((abs(size) for size in sizes if size), 0.0)


def _need(header: Dataset, name: str) -> Any:
    value = header.get(name)
    if not value:
        raise CohortError(f"{name} is missing or 0; export the study again.")
    return value


def _get(levels: Sequence[Dataset], name: str) -> Any:
    """Return the attribute from the first level that has a value for it."""
    values = (level.get(name) for level in levels)
    return next((value for value in values if value is not None and value != ""), None)


def _vector(levels: Sequence[Dataset], name: str, length: int) -> Vector:
    value = _get(levels, name)
    if value is None:
        raise CohortError(f"{name} is missing, so the slices have no place; export the study again, with its geometry.")
    try:
        vector = np.array([float(part) for part in value], dtype=np.float64)
    except (TypeError, ValueError):
        vector = np.empty(0)
    if vector.shape != (length,) or not np.isfinite(vector).all():
        raise CohortError(f"{name} is not {length} finite numbers; export the study again.")
    return vector


def _number(levels: Sequence[Dataset], name: str, default: float) -> float:
    value = _get(levels, name)
    try:
        number = default if value is None else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or (name == "RescaleSlope" and number == 0):
        raise CohortError(f"{name} is not a usable number; export the study again.")
    return number
