# SPDX-License-Identifier: Apache-2.0
"""Image files in and out: PNG, JPEG or TIFF become 8- or 16-bit arrays, arrays become bare PNGs."""

import io
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fedxai.errors import CohortError

Pixels: TypeAlias = NDArray[np.uint8 | np.uint16]

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_DEEP = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_ONE_CHANNEL = ("1", "L", "LA")


def is_picture(path: Path) -> bool:
    """Whether an image is a picture: two axes, and nothing that says where the patient lay."""
    return path.suffix.lower() in SUFFIXES


def read_image(path: Path, *, what: str) -> Pixels:
    """Read a file as (rows, columns) or, where it has colour, (rows, columns, 3); uint8 or uint16.

    Transparency is dropped, a palette is resolved, and the camera's rotation tag is applied.

    Args:
        path: the file.
        what: how a message calls it ("image in row 7"), so that no message needs its name.

    Raises:
        CohortError: the file is missing, damaged, has several pages, or holds floats or 32-bit values.
    """
    if not path.is_file():
        raise CohortError(f"The {what} does not exist; check the folder and the column.")
    try:
        with Image.open(path) as opened:
            pages = getattr(opened, "n_frames", 1)
            if pages == 1:
                opened.load()
                return _as_array(ImageOps.exif_transpose(opened), what)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise CohortError(f"The {what} cannot be read ({type(error).__name__}); export it again.") from None
    raise CohortError(f"The {what} has {pages} pages; export one file per slice.")


def read_region(path: Path, *, what: str, size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read a mask as 0 / 255 (whatever is not 0 belongs to the region) and hold it against the image's size.

    Raises:
        CohortError: it cannot be read, or its (rows, columns) differ from the image's.
    """
    mask = read_image(path, what=what)
    mask = mask if mask.ndim == 2 else mask.max(axis=2)
    if mask.shape != size[:2]:
        raise CohortError(f"The {what} is {mask.shape} and its image {tuple(size[:2])}; they must agree.")
    return np.where(mask > 0, 255, 0).astype(np.uint8)


def less_colour(pixels: Pixels) -> Pixels:
    """Make one channel of three equal ones; true colour stays."""
    gray = pixels.ndim == 3 and bool((pixels == pixels[..., :1]).all())
    return np.ascontiguousarray(pixels[..., 0]) if gray else pixels


def has_colour(path: Path) -> bool:
    """Tell whether a file has true colour, by its header alone where that says no; what cannot be read has none."""
    try:
        with Image.open(path) as opened:
            gray = opened.mode in (*_DEEP, *_ONE_CHANNEL)
        return not gray and less_colour(read_image(path, what="image")).ndim == 3
    except Exception:  # a reader stumbles over damaged files in many ways; the intake says which and why
        return False


def encode_png(pixels: Pixels) -> bytes:
    """Encode pixels without loss and without metadata; the same pixels give the same bytes."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def to_gray(pixels: Pixels) -> Pixels:
    """Turn colour into luminance (ITU-R 601-2); gray stays as it is."""
    return pixels if pixels.ndim == 2 else np.asarray(Image.fromarray(pixels).convert("L"))


def to_colour(pixels: Pixels) -> Pixels:
    """Repeat gray in three 8-bit channels; colour stays as it is."""
    if pixels.ndim == 3:
        return pixels
    shallow = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    return np.repeat(shallow[:, :, None], 3, axis=2)


def _as_array(image: Image.Image, what: str) -> Pixels:
    if image.mode in _DEEP:
        return _sixteen_bits(np.asarray(image), what)
    if image.mode == "F":
        raise CohortError(f"The {what} holds floating-point values; save it with 8 or 16 bits.")
    if image.mode in _ONE_CHANNEL:
        return np.asarray(image.convert("L"))
    return np.asarray(image.convert("RGB"))


def _sixteen_bits(values: NDArray[np.generic], what: str) -> Pixels:
    wide = values.astype(np.int64)
    if wide.min() < 0 or wide.max() > 65535:
        raise CohortError(f"The {what} holds 32-bit values; save it with 8 or 16 bits.")
    return wide.astype(np.uint16)
