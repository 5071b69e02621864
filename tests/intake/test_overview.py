# SPDX-License-Identifier: Apache-2.0
"""A cohort at a glance, of images and of volumes, with the figures known beforehand."""

import numpy as np
import pytest
from PIL import Image

from fedxai.intake.cohort import Cohort
from fedxai.intake.contact_sheet import TILE, draw_contact_sheet
from fedxai.intake.overview import look_over
from fedxai.intake.pixels import encode_png
from fedxai.intake.volume import Volume
from fedxai.records import Case

NAMES = ["background", "left", "right"]


@pytest.fixture
def volumes(tmp_path):
    """Three volumes of 10 x 12 x 4, 6, 8 voxels; value 2 of the label maps is in the last one alone."""
    cases = []
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for i in range(3):
        affine = np.diag((1.0, 1.0, 2.0 + i, 1.0))
        voxels = np.zeros((10, 12, 4 + 2 * i), np.float32)
        voxels[:5] = 1000.0 * (i + 1)
        marked = np.zeros(voxels.shape, np.uint8)
        marked[2:8, 3:9, 1:3] = 1
        marked[2, 3, 1] = 2 if i == 2 else 1
        names = [
            Volume(voxels=values, affine=affine).write_into(tmp_path / kind)
            for kind, values in (("images", voxels), ("labels", marked))
        ]
        cases.append(Case(image=tmp_path / "images" / names[0], label=tmp_path / "labels" / names[1], group=f"p{i}"))
    splits = {"training": cases[:1], "validation": cases[1:2], "test": cases[2:]}
    return Cohort.write(tmp_path, name="v", description="", modality="MRI", class_names=NAMES, splits=splits)


def test_volumes_are_told_by_their_sizes_spacing_values_and_label_maps(volumes):
    view = look_over(volumes)
    assert view.classes == {"background": 3, "left": 3, "right": 1}
    assert (view.sizes, view.spacing) == ("10 x 12 x 4 to 10 x 12 x 8", "1 x 1 x 2 to 1 x 1 x 4")
    assert (view.low, view.mean, view.high) == (0, pytest.approx(1000), pytest.approx(2000))
    assert (view.patients, view.regions, view.unreadable) == (3, 0, 0)


def test_what_cannot_be_read_is_counted(volumes):
    volumes.cases("test")[0].image.write_bytes(b"damaged")
    view = look_over(volumes)
    assert (view.unreadable, view.sizes) == (1, "10 x 12 x 4 to 10 x 12 x 6")


def test_images_are_told_in_shares_of_their_range(tmp_path):
    (tmp_path / "images").mkdir()
    cases = []
    for i, size in enumerate(((4, 9), (6, 5), (6, 5))):
        path = tmp_path / "images" / f"{i}.png"
        path.write_bytes(encode_png(np.full(size, 51 * i, np.uint8)))
        cases.append(Case(image=path, label=i % 2))
    splits = {"training": cases[:1], "validation": cases[1:2], "test": cases[2:]}
    view = look_over(
        Cohort.write(tmp_path, name="i", description="", modality="MRI", class_names=NAMES[:2], splits=splits)
    )
    assert (view.sizes, view.spacing, view.classes) == ("4 x 5 to 6 x 9", "", {"background": 2, "left": 1})
    assert view.mean == pytest.approx(0.2)


def test_the_contact_sheet_shows_volumes_in_their_proportions_with_their_marks_outlined(volumes, tmp_path):
    sheet = np.asarray(Image.open(draw_contact_sheet({"site-1": volumes}, tmp_path / "sheet.png")))
    row = sheet[26 : 26 + TILE, 150:]
    assert row.shape[0] == TILE
    outlined = (row == (255, 140, 0)).all(axis=2)
    assert outlined[:, : 3 * (TILE + 4)].any(axis=0).sum() > 60
    assert not outlined[:, 3 * (TILE + 4) :].any()
    first = row[:, :TILE]
    bright = (first > 250).all(axis=2)
    assert not bright[:, : TILE // 2 - 2].any()  # the patient's left, on the right of the picture
    assert bright.any(axis=0).sum() == pytest.approx(TILE * 10 / 12 / 2, abs=6)  # less the blurred edge


def test_a_volume_that_cannot_be_read_is_crossed_out(volumes, tmp_path):
    volumes.cases("training")[0].image.write_bytes(b"damaged")
    sheet = np.asarray(Image.open(draw_contact_sheet({"site-1": volumes}, tmp_path / "sheet.png")))
    tile = sheet[26 : 26 + TILE, 150 : 150 + TILE]
    assert (tile[np.arange(TILE), np.arange(TILE)] == (255, 140, 0)).all()
