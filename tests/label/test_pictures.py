# SPDX-License-Identifier: Apache-2.0
"""The slices of the reading page: as they were taken, hung as radiologists hang them, the bands beside the image."""

import io

import nibabel
import numpy as np
import pytest
from PIL import Image

from fedxai.intake.volume import Volume
from fedxai.label.pictures import MOST, pictures
from fedxai.report.overlay import TILE

ORIENTATIONS = nibabel.orientations
AXIAL = np.diag([1.0, 1.0, 3.0, 1.0])  # RAS


def shown(volume, banded):
    found, first = pictures(volume, banded)
    return [np.asarray(Image.open(io.BytesIO(one))).astype(int) for one in found], first


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
    assert len(pictures(many, np.zeros((6, 6, 100), np.uint8))[0]) == MOST
    flat = Volume(voxels=np.eye(8)[..., None], affine=np.diag([-1.0, -1.0, 1.0, 1.0]))
    assert len(pictures(flat, np.zeros((8, 8, 1), np.uint8))[0]) == 1
