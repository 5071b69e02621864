# SPDX-License-Identifier: Apache-2.0
"""The maps of a case as files: NIfTI for viewers and computation, and in 2D pictures to look at."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedxai.report.case_pictures import map_pictures
from fedxai.report.examined import Examined

_RIGHT_AND_DOWN = np.diag((-1.0, -1.0, 1.0, 1.0))  # NIfTI's x and y point left and up on a screen


def write_maps(case: Examined, folder: Path) -> None:
    """Write image, region and maps of one case, all on the grid that the network saw.

    NIfTI (``.nii.gz``): ``image`` and one file a method in float32 with its signs, ``region`` in uint8; voxels of
    size 1, since resampling to the network's grid changed their size. A 2D ``(H, W)`` becomes ``(W, H, 1)``, so
    that viewers show it upright; a volume keeps its axes; channels of an image come last. In 2D each method also
    becomes ``<method>.png``, the map in colour over the image with the region's outline.

    Args:
        case: the case; its maps are summed over channels.
        folder: made where it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image = np.asarray(case.image)
    files: dict[str, ArrayLike] = {"image": image, **case.maps}
    for name, array in files.items():
        _write_nifti(np.asarray(array, dtype=np.float32), folder / f"{name}.nii.gz")
    if case.region is not None:
        _write_nifti((np.asarray(case.region) > 0).astype(np.uint8), folder / "region.nii.gz")
    if image.ndim == 3:
        for method, picture in map_pictures(case, case.maps).items():
            picture.save(folder / f"{method}.png")


def _write_nifti(array: NDArray, path: Path) -> None:
    """``(C, *spatial)``; one channel is written without its axis."""
    import nibabel

    flat = array.ndim == 3
    stored = np.moveaxis(array, 0, -1)
    stored = stored.transpose(1, 0, 2)[:, :, None, :] if flat else stored
    stored = stored[..., 0] if stored.shape[-1] == 1 else stored
    nibabel.save(nibabel.Nifti1Image(stored, _RIGHT_AND_DOWN if flat else np.eye(4)), path)
