# SPDX-License-Identifier: Apache-2.0
"""An array of a cohort's grid on the slices, or the picture, of its DICOM series, no voxel moved or changed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from fedxai.errors import CohortError
from fedxai.records import MANUFACTURER

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # NIfTI's RAS+ to DICOM's LPS+
_SAME = 0.01  # of a voxel


def new_series(number: int) -> dict[str, Any]:
    """What names an object of its own series, made here, as highdicom's classes take it."""
    return {
        "series_instance_uid": generate_uid(),
        "series_number": number,
        "sop_instance_uid": generate_uid(),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": "fedxai label",
    }


def is_picture(sources: Sequence[Dataset]) -> bool:
    """Whether a series is one picture, a radiograph or a photograph, which does not say where it lies."""
    placed = ("ImagePositionPatient", "PerFrameFunctionalGroupsSequence")
    return len(sources) == 1 and not any(name in sources[0] for name in placed)


def onto_picture(array: NDArray[Any], source: Dataset) -> NDArray[Any]:
    """Turn (columns, rows, 1) to (1, rows, columns).

    Raises:
        CohortError: the picture has other rows or columns.
    """
    if array.shape != (source.Columns, source.Rows, 1):
        raise CohortError("It does not lie on the pixels of the picture; draw it on this picture.")
    return np.ascontiguousarray(array.transpose(2, 1, 0))


def onto_slices(array: NDArray[Any], affine: NDArray[np.float64], sources: Sequence[Dataset]) -> Any:
    """Turn and flip an array so that it lies slice by slice, row by row and column by column as its series does.

    Args:
        array: (X, Y, Z), on the grid of the series; the order and the direction of the axes are free.
        affine: (4, 4), from its indices to RAS mm.
        sources: headers of every slice of the series, in any order, or of one enhanced object.

    Returns:
        A :class:`highdicom.Volume` of (slices, rows, columns).

    Raises:
        CohortError: the series has no regular grid, or the array lies on another.
    """
    import highdicom

    geometry = _geometry(sources)
    lying = highdicom.Volume(
        array=array,
        affine=_TO_LPS @ affine,
        coordinate_system="PATIENT",
        frame_of_reference_uid=geometry.frame_of_reference_uid,
    ).match_orientation(geometry)
    if lying.spatial_shape != geometry.spatial_shape or not _close(lying, geometry):
        raise CohortError("It does not lie on the grid of the series; resample it to the image first.")
    return geometry.with_array(np.ascontiguousarray(lying.array))


def _geometry(sources: Sequence[Dataset]) -> Any:
    """Place of the whole series; of a single slice the depth is its thickness."""
    import highdicom

    if len(sources) == 1 and "PerFrameFunctionalGroupsSequence" in sources[0]:
        geometry = highdicom.Image.from_dataset(sources[0]).get_volume_geometry()
        if geometry is None:
            raise CohortError("The frames of the series make no regular grid.")
        return geometry
    spacing, places = highdicom.spatial.get_series_volume_positions(sources) if sources else (None, None)
    if spacing is None or places is None:
        raise CohortError("The slices of the series make no regular grid.")
    first = sources[places.index(0)]
    depth = float(first.get("SpacingBetweenSlices") or first.get("SliceThickness") or spacing)
    return highdicom.VolumeGeometry.from_attributes(
        image_position=first.ImagePositionPatient,
        image_orientation=first.ImageOrientationPatient,
        rows=first.Rows,
        columns=first.Columns,
        pixel_spacing=first.PixelSpacing,
        spacing_between_slices=depth if len(sources) == 1 else spacing,
        number_of_frames=len(sources),
        coordinate_system="PATIENT",
        frame_of_reference_uid=first.FrameOfReferenceUID,
    )


def _close(one: Any, other: Any) -> bool:
    """Whether two grids of one shape agree at every corner within a hundredth of a voxel."""
    corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(one.spatial_shape) - 1)
    apart = np.linalg.norm(apply_affine(one.affine, corners) - apply_affine(other.affine, corners), axis=1)
    return bool(apart.max() <= _SAME * min(other.spacing))
