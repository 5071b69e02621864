# SPDX-License-Identifier: Apache-2.0
"""The slices of the reading page: as they were taken, hung as radiologists hang them; what is drawn on them lands."""

import io

import nibabel
import numpy as np
import pytest
from PIL import Image

from fedxai.errors import CohortError
from fedxai.intake.volume import Volume
from fedxai.label.pictures import MOST, outlined, outlines_of, pictures
from fedxai.report.overlay import TILE

ORIENTATIONS = nibabel.orientations
AXIAL = np.diag([1.0, 1.0, 3.0, 1.0])  # RAS


def shown(volume, banded):
    found = pictures(volume, banded)
    return [np.asarray(Image.open(io.BytesIO(one))).astype(int) for one in found.pngs], found.first


def turned(voxels, axes):
    """The same voxels at the same places, with the axes running otherwise."""
    image = nibabel.Nifti1Image(voxels, AXIAL)
    turn = ORIENTATIONS.ornt_transform(ORIENTATIONS.io_orientation(AXIAL), ORIENTATIONS.axcodes2ornt(axes))
    moved = image.as_reoriented(turn)
    return Volume(voxels=np.asarray(moved.dataobj), affine=moved.affine)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR"])
def test_the_patients_right_is_on_the_left_and_the_front_is_up(axes):
    """A bright corner, right and in front, in the second slice from the head, wherever the file's axes run."""
    voxels, banded = np.zeros((16, 16, 4), np.float32), np.zeros((16, 16, 4), np.uint8)
    voxels[-4:, -4:, 2], banded[-4:, -4:, 2] = 1, 3
    found, first = shown(turned(voxels, axes), turned(banded, axes).voxels)
    assert (len(found), first) == (4, 1)
    image, bands = found[1][:, :TILE], found[1][:, -TILE:]
    for tile in (image, bands):
        bright = np.argwhere(tile.sum(axis=-1) > 300)
        assert 0 < bright.max() <= TILE // 4 + 4
    assert np.ptp(image, axis=-1).max() == 0
    assert np.ptp(bands, axis=-1).max() > 50


def test_slices_run_across_the_longest_side_of_a_voxel():
    sagittal = Volume(
        voxels=np.random.default_rng(0).random((5, 20, 30)).astype(np.float32), affine=np.diag([4, 1, 1, 1])
    )
    found, _ = shown(sagittal, np.zeros((5, 20, 30), np.uint8))
    assert len(found) == 5
    assert found[0].shape[0] == TILE


def test_of_many_slices_some_are_chosen_and_one_picture_is_one():
    many = Volume(voxels=np.zeros((6, 6, 100), np.float32), affine=np.eye(4))
    assert len(pictures(many, np.zeros((6, 6, 100), np.uint8)).pngs) == MOST
    flat = Volume(voxels=np.eye(8)[..., None], affine=np.diag([-1.0, -1.0, 1.0, 1.0]))
    assert len(pictures(flat, np.zeros((8, 8, 1), np.uint8)).pngs) == 1


def box(picture, left, top, right, bottom, name="lesion"):
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return {"picture": picture, "name": name, "points": corners}


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SLA"])
def test_what_is_drawn_on_a_picture_lies_there_wherever_the_files_axes_run(axes):
    """Right and in front is left and above; the second picture is the second slice from the head."""
    volume = turned(np.zeros((16, 12, 4), np.float32), axes)
    labels, names = outlined(outlines_of([box(1, 0.0, 0.0, 4 / 16, 3 / 12), box(3, 0.5, 0.5, 1, 1, "edema")]), volume)
    expected = np.zeros((16, 12, 4), np.uint8)
    expected[-4:, -3:, 2], expected[:8, :6, 0] = 1, 2
    assert names == {"lesion": 1, "edema": 2}
    assert labels.shape == volume.grid
    assert np.array_equal(labels, turned(expected, axes).voxels)


def test_the_picture_and_what_is_drawn_on_it_are_one_grid():
    """A line round what is bright in the picture holds what is bright in the image."""
    voxels = np.zeros((20, 30, 5), np.float32)
    voxels[4:9, 10:22, 3] = 1
    volume = Volume(voxels=voxels, affine=np.diag([1.0, 1.0, 4.0, 1.0]))
    found = pictures(volume, np.zeros(voxels.shape, np.uint8))
    tile = np.asarray(Image.open(io.BytesIO(found.pngs[1])).convert("L"))
    width = round(found.share * tile.shape[1])
    down, right = np.argwhere(tile[:, :width] > 128).T
    corners = (right.min() / width, down.min() / len(tile), (right.max() + 1) / width, (down.max() + 1) / len(tile))
    labels, _ = outlined(outlines_of([box(1, *corners)]), volume)
    assert np.array_equal(labels > 0, voxels > 0)


def test_a_picture_stands_for_the_slices_around_it_and_the_last_line_lies_on_top():
    volume = Volume(voxels=np.zeros((6, 6, 100), np.float32), affine=np.eye(4))
    whole = [box(place, 0, 0, 1, 1) for place in range(MOST)]
    labels, _ = outlined(outlines_of([*whole, box(0, 0, 0, 1, 1, "other")]), volume)
    assert (labels > 0).all()
    assert 1 <= (labels[0, 0] == 2).sum() <= 3
    assert (labels[0, 0, -1:] == 2).all()  # from head to foot


@pytest.mark.parametrize(
    "told",
    [
        [],
        "lesion",
        [{"picture": 0, "name": "x", "points": [(0, 0), (1, 1)]}],
        [box(-1, 0, 0, 1, 1)],
        [box(0, 0, 0, 1, 2)],
        [box(0, 0, 0, 1, float("nan"))],
        [box(0, 0, 0, 1, 1, "")],
        [{**box(0, 0, 0, 1, 1), "file": "/etc/passwd"}],
        [box(99, 0, 0, 1, 1)],
    ],
)
def test_a_line_that_breaks_a_rule_is_refused(told):
    with pytest.raises(CohortError):
        outlined(outlines_of(told), Volume(voxels=np.zeros((6, 6, 4), np.float32), affine=np.eye(4)))
