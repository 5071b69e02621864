# SPDX-License-Identifier: Apache-2.0
"""Volume files in: NIfTI by nibabel, NRRD and MetaImage by SimpleITK, each to real values at their true place."""

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from fedxai.errors import CohortError
from fedxai.intake.volume import MAX_VOXELS, Affine, Volume, Voxels

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
_MILLIMETRES = {"mm": 1.0, "unknown": 1.0, "meter": 1e3, "micron": 1e-3}
_SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_DETACHED = re.compile(rb"^(?:data ?file:|ElementDataFile *=(?! *LOCAL))", re.MULTILINE | re.IGNORECASE)
_HEADER_BYTES = 65536


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is done with files that leave a question open; by default they are refused."""

    frame: int | None = None  # which volume of a series in time (4D); others have but one
    nan_as: float | None = None  # what stands in for voxels that are not a number
    unplaced: bool = False  # take a file that does not say how the patient lay as if its axes were R, A, S
    label_values: tuple[int, ...] = ()  # values of label maps that become 1, 2, ...; as they are if not given


def read_volume(path: Path, *, what: str, reading: Reading = Reading()) -> Volume:
    """Read a file; ``scl_slope`` and ``scl_inter`` are applied, units become mm, colour becomes channels.

    Where a NIfTI file has two different placements (sform and qform), the one that is valid counts; of two valid
    ones the one in scanner space (code 1); else the one whose voxel sizes are ``pixdim``; else it is refused.

    Args:
        path: ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.mha``.
        what: how a message calls it ("image 7"), so that no message needs its name.
        reading: what to do where the file leaves a question open.

    Raises:
        CohortError: it is missing, damaged, of another form, or breaks a rule of :class:`Volume`.

    Reference: nifti1.h, section 3D IMAGE (VOLUME) ORIENTATION AND LOCATION IN SPACE.
    """
    if not path.is_file():
        raise CohortError(f"The {what} does not exist; check the folder and the column.")
    name = path.name.lower()
    read: Callable[[Path, Reading], Volume] = _read_nifti if name.endswith((".nii", ".nii.gz")) else _read_itk
    if not name.endswith(SUFFIXES):
        raise CohortError(f"The {what} must be one of {', '.join(SUFFIXES)}; save it as .nii.gz.")
    try:
        return read(path, reading)
    except CohortError as error:
        raise CohortError(f"The {what} cannot be taken: {error}") from None
    except (OSError, EOFError, ValueError, RuntimeError, OverflowError, zlib.error) as error:
        raise CohortError(f"The {what} cannot be read ({type(error).__name__}); export it again.") from None
    except (ImageFileError, HeaderDataError) as error:
        raise CohortError(f"The {what} is no NIfTI file ({type(error).__name__}); export it again.") from None


def _read_nifti(path: Path, reading: Reading) -> Volume:
    image: Any = nib.load(path)
    shape = tuple(int(n) for n in image.shape)
    _check_size(int(np.prod(shape[:3])))
    affine = nifti_affine(image.header, unplaced=reading.unplaced)
    voxels = np.asanyarray(image.dataobj[_frame(shape, reading.frame)])
    voxels = voxels.reshape([*voxels.shape, 1, 1][:3])
    if voxels.dtype.names:
        voxels = np.stack([voxels[name] for name in voxels.dtype.names], axis=-1)
    return Volume(voxels=_without_nan(voxels, reading.nan_as), affine=affine)


def _frame(shape: tuple[int, ...], frame: int | None) -> tuple[Any, ...]:
    """Return what cuts one volume out of an array: trailing axes of length 1 go, one of time needs a choice."""
    frames, rest = shape[3] if len(shape) > 3 else 1, shape[4:]
    if len(shape) < 2 or any(n != 1 for n in rest):
        raise CohortError(f"It must have 2 to 4 axes, got {shape}; export one volume per file.")
    if frames > 1 and frame is None:
        raise CohortError(f"It holds {frames} volumes (4D); choose one with --frame 0 to {frames - 1}.")
    chosen = 0 if frames == 1 or frame is None else frame
    if not 0 <= chosen < frames:
        raise CohortError(f"--frame must be 0 to {frames - 1} for it, got {frame}.")
    return (slice(None),) * min(len(shape), 3) + ((chosen,) + (0,) * len(rest) if len(shape) > 3 else ())


def nifti_affine(header: Any, *, unplaced: bool = False) -> Affine:
    """Where a NIfTI header places its voxels, in RAS mm (:func:`read_volume` has the rule).

    Raises:
        CohortError: it does not say, or says two things.
    """
    scale = np.diag([_MILLIMETRES[header.get_xyzt_units()[0]]] * 3 + [1.0])
    codes = {form: int(header[f"{form}_code"]) for form in ("sform", "qform")}
    if not any(code > 0 for code in codes.values()):
        if unplaced:
            return scale @ np.diag([*header["pixdim"][1:4].astype(float), 1.0])
        raise CohortError("It does not say how the patient lay (sform_code and qform_code are 0); see --unplaced.")
    forms = {form: _form(header, form) for form, code in codes.items() if code > 0}
    valid = {form: affine for form, affine in forms.items() if affine is not None}
    if not valid:
        raise CohortError(f"Its {' and '.join(forms)} cannot be used (not finite, or flat); export it again.")
    chosen = "sform" if "sform" in valid else "qform"
    if len(valid) == 2 and not _agree(valid["sform"], valid["qform"], header.get_data_shape()[:3]):
        chosen = _preferred(codes, valid["sform"], header["pixdim"][1:4])
    return scale @ valid[chosen]


def _form(header: Any, form: str) -> Affine | None:
    try:
        affine = np.asarray(getattr(header, f"get_{form}")(), dtype=np.float64)
        usable = np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 0
    except (ValueError, HeaderDataError, np.linalg.LinAlgError):  # a quaternion longer than 1
        return None
    return affine if usable else None


def _agree(one: Affine, other: Affine, shape: tuple[int, ...]) -> bool:
    """Whether two placements put every corner of the grid within a tenth of a voxel of each other."""
    corners = np.array(list(product(*((0, n - 1) for n in (*shape, 1, 1)[:3]))), dtype=np.float64)
    apart = np.linalg.norm(apply_affine(one, corners) - apply_affine(other, corners), axis=1).max()
    return bool(apart <= 0.1 * min(voxel_sizes(one).min(), voxel_sizes(other).min()))


def _preferred(codes: dict[str, int], sform: Affine, pixdim: Voxels) -> str:
    scanner = [form for form, code in codes.items() if code == _SCANNER]
    if len(scanner) == 1:
        return scanner[0]
    if not np.allclose(voxel_sizes(sform), pixdim, rtol=0.01):
        return "qform"  # whose voxel sizes are pixdim by definition
    raise CohortError(
        f"Its sform (code {codes['sform']}) and qform (code {codes['qform']}) place it differently and neither "
        "alone is in scanner space; set the wrong one's code to 0."
    )


def _read_itk(path: Path, reading: Reading) -> Volume:
    import SimpleITK as sitk

    with path.open("rb") as opened:
        if _DETACHED.search(opened.read(_HEADER_BYTES)):
            raise CohortError("It points to another file for its voxels; save it as one file.")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if reader.GetDimension() != 3:
        raise CohortError(f"It must have 3 axes, got {reader.GetDimension()}; export one volume per file.")
    _check_size(int(np.prod(reader.GetSize())) * reader.GetNumberOfComponents())
    placed = path.name.lower().endswith(".mha") or reader.HasMetaDataKey("NRRD_space")
    if not placed and not reading.unplaced:
        raise CohortError("It does not say how the patient lay (no space field); see --unplaced.")
    image = reader.Execute()
    voxels = np.moveaxis(sitk.GetArrayFromImage(image), (0, 1, 2), (2, 1, 0))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return Volume(voxels=_without_nan(voxels, reading.nan_as), affine=_TO_RAS @ affine if placed else affine)


def _check_size(voxels: int) -> None:
    if voxels > MAX_VOXELS:
        raise CohortError(f"It must have at most {MAX_VOXELS} voxels, its header says {voxels}.")


def _without_nan(voxels: Voxels, nan_as: float | None) -> Voxels:
    """Put ``nan_as`` where a voxel is no number, and refuse such voxels where there is none."""
    if voxels.dtype.kind != "f":
        return voxels
    missing = np.isnan(voxels)
    if not missing.any():
        return voxels
    if nan_as is None:
        raise CohortError(f"{missing.mean():.1%} of its voxels are not a number (NaN); see --nan-as.")
    return np.where(missing, voxels.dtype.type(nan_as), voxels)
