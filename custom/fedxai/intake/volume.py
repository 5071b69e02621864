# SPDX-License-Identifier: Apache-2.0
"""A volume: voxels with their place in the patient, checked when made, stored with nothing else."""

import gzip
import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import nibabel as nib
import numpy as np
from nibabel import affines, orientations
from numpy.typing import NDArray

from fedxai.errors import CohortError
from fedxai.whole_file import write_whole

Voxels: TypeAlias = NDArray[Any]
Affine: TypeAlias = NDArray[np.float64]

SUFFIX = ".nii.gz"
MAX_VOXELS = 2**29  # 1024 x 1024 x 512
_LEAST_VOLUME = 0.05  # of the box spanned by unit vectors along the axes; 1 where they are at right angles
_COMPRESSION = 1  # of 1 to 9: noise hardly compresses further
_STORED = ("u1", "u2", "u4", "i1", "i2", "i4", "f4")


@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """Voxels, (X, Y, Z) or (X, Y, Z, C), and the affine from their indices to the patient.

    ``(x, y, z, 1) mm = affine @ (i, j, k, 1)``, with x to the patient's right, y to the front (anterior), z to the
    head (superior): NIfTI's RAS+. DICOM and ITK have x and y the other way round (LPS).

    Attributes:
        voxels: real values (a rescale is applied); 8 to 32 bits, wider ones are narrowed where nothing is lost
            (64-bit floats: to 32 bits).
        affine: (4, 4), mm.

    Raises:
        CohortError: not three axes and at most one of channels, an empty or too large array, values that are not
            finite numbers, or an affine that is not finite, flat, or has no length along an axis.
    """

    voxels: Voxels
    affine: Affine

    def __post_init__(self) -> None:
        if self.voxels.ndim not in (3, 4) or not 0 < self.voxels.size <= MAX_VOXELS:
            raise CohortError(
                f"A volume must have 3 axes (or 4, the last for channels) and 1 to {MAX_VOXELS} voxels, "
                f"got {self.voxels.shape}."
            )
        object.__setattr__(self, "affine", _checked_affine(self.affine))
        object.__setattr__(self, "voxels", _checked_voxels(self.voxels))

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along each axis of the array, in mm."""
        x, y, z = (float(size) for size in affines.voxel_sizes(self.affine))
        return x, y, z

    @property
    def grid(self) -> tuple[int, int, int]:
        """Number of voxels along each axis, without the channels."""
        x, y, z = self.voxels.shape[:3]
        return x, y, z

    @property
    def axes(self) -> str:
        """Where the indices grow to, as in ``RAS`` or ``LPI``."""
        return "".join(str(letter) for letter in nib.aff2axcodes(self.affine))

    def canonical(self) -> "Volume":
        """The same volume with its axes turned and flipped to lie closest to RAS+; no value is changed."""
        turn = orientations.io_orientation(self.affine)
        return replace(
            self,
            voxels=np.ascontiguousarray(orientations.apply_orientation(self.voxels, turn)),
            affine=self.affine @ orientations.inv_ornt_aff(turn, self.grid),
        )

    def nifti(self) -> bytes:
        """The volume as an uncompressed NIfTI-1 file whose header holds the geometry and nothing else.

        The sform is exact; the qform, which cannot shear, is set where it says the same.
        """
        image = nib.Nifti1Image(self.voxels, self.affine, dtype=self.voxels.dtype)
        image.set_sform(self.affine, code="scanner")
        image.set_qform(self.affine, code="scanner", strip_shears=True)
        if not np.allclose(image.get_qform(), self.affine, atol=1e-3):
            image.set_qform(None, code="unknown")
        image.header.set_xyzt_units("mm")
        return image.to_bytes()

    def write(self, path: Path) -> None:
        """Write ``.nii.gz``, whole or not at all; the same volume gives the same bytes (no name, no time)."""
        write_whole(path, _compressed(self.nifti()))

    def write_into(self, folder: Path) -> str:
        """Write under the hash of the content, unless it is there already, and return the name.

        The name is the first 16 hex digits of the SHA-256 of the NIfTI file before compression.
        """
        content = self.nifti()
        path = folder / f"{hashlib.sha256(content).hexdigest()[:16]}{SUFFIX}"
        if not path.exists():
            write_whole(path, _compressed(content))
        return path.name


def _compressed(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=_COMPRESSION, mtime=0)


def _checked_affine(affine: Any) -> Affine:
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.array_equal(matrix[3], (0, 0, 0, 1)):
        raise CohortError("The affine of a volume must be 4 x 4, finite, and end with the row 0, 0, 0, 1.")
    lengths = affines.voxel_sizes(matrix)
    if lengths.min() <= 0:
        raise CohortError("The spacing of a volume must be above 0 along every axis.")
    if abs(np.linalg.det(matrix[:3, :3] / lengths)) < _LEAST_VOLUME:
        raise CohortError("The axes of a volume must span space; these lie (almost) in one plane.")
    return matrix


def _checked_voxels(voxels: Voxels) -> Voxels:
    """Return values as NIfTI keeps them, without loss of whole numbers."""
    if voxels.dtype.kind not in "buif":
        raise CohortError(f"The voxels of a volume must be real numbers, got {voxels.dtype}.")
    if voxels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            values = voxels.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise CohortError(f"{int((~np.isfinite(values)).sum())} voxels are not finite 32-bit numbers; all must be.")
        return values.astype("f4", copy=False)
    if voxels.dtype.kind == "b":
        return voxels.astype(np.uint8)
    native = voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
    if native.dtype.str[1:] in _STORED:
        return native
    low, high = int(native.min()), int(native.max())
    for name in ("u4", "i4"):
        if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
            return native.astype(name)
    raise CohortError("The voxels of a volume must fit 32 bits; these do not.")
