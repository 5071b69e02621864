# SPDX-License-Identifier: Apache-2.0
"""A mask drawn on one grid moves to an image's grid, where geometry says that it can without loss."""

from typing import Any

import numpy as np
from nibabel.affines import apply_affine

from fedxai.errors import CohortError
from fedxai.intake.volume import Volume

MOST_LOST = 0.1  # of a value's volume in mm^3
_SAME = 0.01  # of a voxel
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def onto_grid(mask: Volume, image: Volume) -> Volume:
    """Return a mask (region, label map) on the image's grid, each voxel taking the value nearest to its middle.

    A mask on the same grid passes unchanged. On another grid, or with its axes stored in another order or
    direction, it is resampled, provided that all of it lies inside the image's field of view (to half a voxel)
    and no value gains or loses more than 10 % of its volume, as it would where the image's voxels are much larger
    than what was drawn.

    Args:
        mask: whole-numbered values, (X, Y, Z), 0 where nothing is.
        image: where it shall lie.

    Returns:
        The mask with ``image``'s grid and affine.

    Raises:
        CohortError: the mask is not whole-numbered, reaches out of the image, or would be lost or changed.
    """
    check_mask(mask)
    if mask.grid == image.grid and _close(mask, image):
        return Volume(voxels=mask.voxels, affine=image.affine)
    _check_inside(mask, image)
    moved = _sample(mask, image)
    _check_volumes(mask, moved)
    return moved


def check_mask(mask: Volume) -> None:
    """Refuse what cannot be a mask: channels, or values between whole numbers.

    Raises:
        CohortError: it is one of these.
    """
    if mask.voxels.ndim != 3 or (mask.voxels.dtype.kind == "f" and not (mask.voxels == np.rint(mask.voxels)).all()):
        raise CohortError("It must have 3 axes and whole numbers for values; a map of probabilities is no mask.")


def _close(one: Volume, other: Volume) -> bool:
    """Whether two grids of one shape agree at every corner within a hundredth of a voxel."""
    corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(one.grid) - 1)
    apart = np.linalg.norm(apply_affine(one.affine, corners) - apply_affine(other.affine, corners), axis=1).max()
    return bool(apart <= _SAME * min(one.spacing))


def _check_inside(mask: Volume, image: Volume) -> None:
    drawn = np.argwhere(mask.voxels != 0)
    if not len(drawn):
        return
    places = apply_affine(np.linalg.inv(image.affine) @ mask.affine, drawn)
    inside = ((places >= -0.5) & (places <= np.array(image.grid) - 0.5)).all(axis=1)
    if not inside.any():
        raise CohortError("It lies nowhere in the image; it belongs to another image or another frame of reference.")
    if not inside.all():
        raise CohortError(f"{(~inside).mean():.1%} of it lies outside the image; it belongs to another field of view.")


def _check_volumes(mask: Volume, moved: Volume) -> None:
    before, after = _volumes(mask), _volumes(moved)
    for value, size in before.items():
        change = after.get(value, 0.0) / size - 1
        if abs(change) > MOST_LOST:
            raise CohortError(
                f"On the image's grid value {value} would change its volume by {change:+.0%} (at most "
                f"{MOST_LOST:.0%}); draw it on the image itself."
            )


def _volumes(mask: Volume) -> dict[int, float]:
    """Volume of each value but 0, in mm^3."""
    values, counts = np.unique(mask.voxels, return_counts=True)
    voxel = abs(float(np.linalg.det(mask.affine[:3, :3])))
    return {int(value): float(count) * voxel for value, count in zip(values, counts, strict=True) if value}


def _sample(mask: Volume, image: Volume) -> Volume:
    """Take the nearest value of the mask at the middle of each of the image's voxels; 0 outside."""
    import SimpleITK as sitk

    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(_as_itk(Volume(voxels=np.zeros(image.grid, np.uint8), affine=image.affine)))
    resampler.SetInterpolator(sitk.sitkNearestNeighbor)
    resampler.SetDefaultPixelValue(0)
    voxels = sitk.GetArrayFromImage(resampler.Execute(_as_itk(mask)))
    return Volume(voxels=np.ascontiguousarray(voxels.transpose(2, 1, 0)), affine=image.affine)


def _as_itk(volume: Volume) -> Any:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.voxels.transpose(2, 1, 0)))
    affine = _TO_LPS @ volume.affine
    image.SetSpacing(volume.spacing)
    image.SetDirection((affine[:3, :3] / volume.spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image
