# SPDX-License-Identifier: Apache-2.0
"""An image's own grid, and what is drawn or computed on it as files that viewers lay over the image."""

from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from fedxai.errors import CohortError
from fedxai.intake.pixels import is_picture
from fedxai.intake.resample import onto_grid
from fedxai.intake.volume import Volume
from fedxai.intake.volume_file import Reading, read_volume

PICTURES = (".png", ".jpg", ".jpeg")
IMAGES = (".nii.gz", ".nii", ".nrrd", *PICTURES)  # what a folder of images is searched for
RIGHT_AND_DOWN = np.diag(
    (-1.0, -1.0, 1.0, 1.0)
)  # a picture's columns go right and its rows down; RAS counts the other way
_RAW = ".bin"
EXTENSIONS = (".nrrd", ".nii.gz", ".nii")


def read_image(path: Path, *, what: str = "image") -> Volume:
    """An image with the grid and axes of its file; a picture ``(H, W)`` is a volume ``(W, H, 1)``, as viewers show it.

    Raises:
        CohortError: it is missing, damaged or of another form.
    """
    if is_picture(path):
        return picture_volume(_pixels(path, what))
    if path.name.lower().endswith((".nii", ".nii.gz")):
        # as MONAI's reader places it, also where the file says nothing
        volume = read_volume(path, what=what, reading=Reading(unplaced=True, nan_as=0.0))
        return Volume(voxels=volume.voxels, affine=affine_of(path))
    return read_volume(path, what=what, reading=Reading(nan_as=0.0))


def picture_volume(pixels: NDArray[Any]) -> Volume:
    """A picture ``(H, W)`` or ``(H, W, channels)``, of which the first is shown, as a volume ``(W, H, 1)``."""
    grey = pixels if pixels.ndim == 2 else pixels[..., 0]
    return Volume(voxels=grey.T[:, :, None], affine=RIGHT_AND_DOWN)


def affine_of(path: Path) -> NDArray[Any]:
    """Where an image's voxels lie, RAS mm; of a NIfTI only its header is read.

    Raises:
        CohortError: an image of another format is missing or damaged.
    """
    if is_picture(path):
        return RIGHT_AND_DOWN
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return nibabel.load(path).affine  # pyright: ignore
    return read_volume(path, what="image").affine


def read_drawing(path: Path, image: Volume) -> NDArray[np.uint8]:
    """A label map on the image's grid, also where it was drawn on another one with the same place in the patient.

    OHIF sends no file but the bytes of a label map, in the order of the image's voxels, columns first.

    Raises:
        CohortError: it is damaged, no label map, or does not fit the image.
    """
    if path.suffix == _RAW:
        return _raw(path, image)
    if is_picture(path):
        drawn = Volume(voxels=picture_volume(_pixels(path, "region")).voxels, affine=image.affine)
        if drawn.grid != image.grid:
            raise CohortError(f"The region must have the image's {image.grid} pixels, got {drawn.grid}.")
    else:
        drawn = read_volume(path, what="region")
        if drawn.voxels.ndim == 4:
            raise CohortError("The region must be one label map; segments in layers of their own are not taken.")
    voxels = onto_grid(drawn, image).voxels
    if voxels.size and (voxels.min() < 0 or voxels.max() > np.iinfo(np.uint8).max):
        raise CohortError("The values of a region must be whole numbers from 0 to 255.")
    return voxels.astype(np.uint8)


def write_answer(values: NDArray[Any], affine: NDArray[Any], extension: str) -> Path:
    """A new temporary file with these voxels; whoever sends it removes it.

    Args:
        values: ``(X, Y, Z)``, uint8 or float32.
        affine: to RAS mm.
        extension: ``.nrrd`` (uncompressed, as OHIF reads it), ``.nii.gz`` or ``.nii``.

    Raises:
        CohortError: another ending.
    """
    if extension not in EXTENSIONS:
        raise CohortError(f"result_extension must be one of {', '.join(EXTENSIONS)}, got {extension!r}.")
    with NamedTemporaryFile(suffix=extension, delete=False) as opened:
        path = Path(opened.name)
    volume = Volume(voxels=np.ascontiguousarray(values), affine=affine)
    if extension == ".nrrd":
        _write_nrrd(volume, path)
    else:
        nibabel.save(nibabel.Nifti1Image(volume.voxels, volume.affine), path)
    return path


def write_mask(inside: NDArray[np.bool_], image: Path, affine: NDArray[Any], path: Path) -> Path:
    """A region on the image's grid as a cohort keeps it: PNG of 0 and 255 beside pictures, else NIfTI of 0 and 1.

    Args:
        inside: ``(X, Y, Z)``.
        image: whose region it is.
        affine: of that image.
        path: without its ending.
    """
    from PIL import Image

    if is_picture(image):
        file = path.with_name(f"{path.name}.png")
        Image.fromarray(np.where(inside[..., 0].T, 255, 0).astype(np.uint8)).save(file)
    else:
        file = path.with_name(f"{path.name}.nii.gz")
        Volume(voxels=inside.astype(np.uint8), affine=affine).write(file)
    return file


def _raw(path: Path, image: Volume) -> NDArray[np.uint8]:
    raw = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    if raw.size != int(np.prod(image.grid)):
        raise CohortError("The label map is not of the size of its image.")
    return raw.reshape(image.grid, order="F").copy()


def _pixels(path: Path, what: str) -> NDArray[Any]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as opened:
            return np.asarray(opened)
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise CohortError(f"The {what} is no picture that can be read ({type(error).__name__}).") from None


def _write_nrrd(volume: Volume, path: Path) -> None:
    """With pynrrd: SimpleITK holds the interpreter, and with it the whole server, until all is on the disk."""
    import nrrd

    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    header: Any = {
        "encoding": "raw",
        "space": "left-posterior-superior",
        "space directions": lps[:3, :3].T,
        "space origin": lps[:3, 3],
        "kinds": ["domain"] * 3,
    }
    nrrd.write(str(path), volume.voxels, header)
