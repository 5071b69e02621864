# SPDX-License-Identifier: Apache-2.0
"""Every kind of file a hospital hands over becomes the right array, or a sentence."""

import io

import numpy as np
import pytest
from PIL import Image

from fedxai.errors import CohortError
from fedxai.intake.pixels import encode_png, has_colour, less_colour, read_image, read_region, to_colour, to_gray

GRAY = np.arange(48, dtype=np.uint8).reshape(6, 8)
COLOUR = np.stack([GRAY, GRAY + 1, GRAY + 2], axis=-1)


def _read(path):
    return read_image(path, what="image in row 2")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_gray_files_keep_their_values(tmp_path, name):
    Image.fromarray(GRAY).save(tmp_path / name)
    np.testing.assert_array_equal(_read(tmp_path / name), GRAY)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_stay_sixteen_bits(tmp_path, name):
    deep = GRAY.astype(np.uint16) * 1000
    Image.fromarray(deep).save(tmp_path / name)
    np.testing.assert_array_equal(_read(tmp_path / name), deep)


def test_three_channels_are_read_as_they_are_and_become_one_only_where_they_are_equal():
    np.testing.assert_array_equal(less_colour(np.repeat(GRAY[..., None], 3, axis=2)), GRAY)
    assert less_colour(GRAY) is GRAY
    assert less_colour(COLOUR) is COLOUR


@pytest.mark.parametrize(
    ("pixels", "colour"),
    [(GRAY, False), (np.repeat(GRAY[..., None], 3, axis=2), False), (COLOUR, True), (GRAY > 20, False)],
    ids=["gray", "three equal channels", "colour", "bilevel"],
)
def test_true_colour_is_told_from_gray_in_three_channels(tmp_path, pixels, colour):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert _read(tmp_path / "a.png").shape == pixels.shape
    assert has_colour(tmp_path / "a.png") is colour


def test_what_cannot_be_read_has_no_colour(tmp_path):
    (tmp_path / "a.png").write_bytes(encode_png(COLOUR)[:40])
    assert not has_colour(tmp_path / "a.png")
    assert not has_colour(tmp_path / "none.png")


def test_palette_bilevel_and_transparency_are_resolved(tmp_path):
    Image.fromarray(COLOUR).quantize(64).save(tmp_path / "p.png")
    Image.fromarray(GRAY > 20).save(tmp_path / "1.png")
    Image.fromarray(np.dstack([COLOUR, np.zeros_like(GRAY)])).save(tmp_path / "rgba.png")
    assert _read(tmp_path / "p.png").shape == (6, 8, 3)
    np.testing.assert_array_equal(_read(tmp_path / "1.png"), np.where(GRAY > 20, 255, 0))
    np.testing.assert_array_equal(_read(tmp_path / "rgba.png"), COLOUR)


def test_the_cameras_rotation_is_applied(tmp_path):
    image = Image.fromarray(GRAY)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    assert _read(tmp_path / "a.png").shape == (8, 6)


def test_what_cannot_be_read_is_one_sentence_without_the_files_name(tmp_path):
    (tmp_path / "secret.png").write_bytes(encode_png(GRAY)[:40])
    (tmp_path / "secret.jpg").write_text("not an image")
    Image.fromarray(GRAY.astype(np.float32)).save(tmp_path / "secret.tif")
    Image.fromarray(GRAY).save(tmp_path / "secret2.tif", save_all=True, append_images=[Image.fromarray(GRAY)])
    cases = {
        "secret.png": "cannot be read",
        "secret.jpg": "cannot be read",
        "gone": "does not exist",
        "secret.tif": "floating-point",
        "secret2.tif": "2 pages",
    }
    for name, message in cases.items():
        with pytest.raises(CohortError, match=f"image in row 2 .*{message}") as caught:
            _read(tmp_path / name)
        assert "secret" not in str(caught.value)


def test_a_mask_becomes_0_and_255_and_must_fit(tmp_path):
    Image.fromarray((GRAY > 40).astype(np.uint8)).save(tmp_path / "m.png")
    region = read_region(tmp_path / "m.png", what="mask", size=(6, 8, 3))
    np.testing.assert_array_equal(region, np.where(GRAY > 40, 255, 0))
    with pytest.raises(CohortError, match=r"mask is \(6, 8\) and its image \(8, 6\)"):
        read_region(tmp_path / "m.png", what="mask", size=(8, 6))


def test_png_is_lossless_and_bare():
    for pixels in (GRAY, COLOUR, GRAY.astype(np.uint16) * 1000):
        opened = Image.open(io.BytesIO(encode_png(pixels)))
        np.testing.assert_array_equal(np.asarray(opened), pixels)
        assert opened.info == {}


def test_gray_and_colour_are_converted():
    assert to_gray(COLOUR).shape == (6, 8)
    assert to_colour(GRAY).shape == (6, 8, 3)
    assert to_gray(GRAY) is GRAY
    np.testing.assert_array_equal(to_colour(np.full((2, 2), 0xAB00, dtype=np.uint16)), 0xAB)
