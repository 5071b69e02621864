# SPDX-License-Identifier: Apache-2.0
"""Stored files as arrays and pictures: sizes from headers, and a slice as a radiologist looks at it."""

import numpy as np
import pytest

from fedxai.errors import CohortError
from fedxai.intake.pixels import encode_png
from fedxai.intake.stored import read_values, size_of, slice_for_people, voxel_type
from fedxai.intake.volume import Volume

VOXELS = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)


@pytest.fixture
def volume(tmp_path):
    path = tmp_path / "v.nii.gz"
    Volume(voxels=VOXELS, affine=np.diag((1.0, 2.0, 3.0, 1.0))).write(path)
    return path


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "i.png"
    path.write_bytes(encode_png(np.zeros((3, 7), np.uint8)))
    return path


def test_values_types_and_sizes_of_both_kinds(volume, image):
    values, place = read_values(volume, what="x")
    np.testing.assert_array_equal(values, VOXELS)
    np.testing.assert_allclose(place, np.diag((1.0, 2.0, 3.0, 1.0)))
    assert read_values(image, what="x")[0].shape == (3, 7)
    assert (voxel_type(volume), voxel_type(image)) == ("uint16", "uint8")
    assert (size_of(volume), size_of(image)) == ((4, 5, 6), (7, 3))


@pytest.mark.parametrize("keep", [0, 3, 60, -5, -1])
def test_a_volume_that_is_cut_short_has_no_size(volume, keep):
    content = volume.read_bytes()
    volume.write_bytes(content[:keep])
    with pytest.raises(CohortError):
        size_of(volume)


def test_an_axial_slice_has_the_front_up_and_the_right_on_the_left():
    shown, _, sides = slice_for_people(VOXELS, np.diag((1.0, 2.0, 3.0, 1.0)), None)
    assert shown.shape == (5, 4)
    assert shown[0, 0] == VOXELS[3, 4, 3]  # right front
    assert shown[-1, -1] == VOXELS[0, 0, 3]  # left back
    assert sides == (2.0, 1.0)


@pytest.mark.parametrize(
    ("spacing", "shape", "corner"),
    [
        ((4.0, 1, 1), (6, 5), VOXELS[2, 4, 5]),
        ((1.0, 4, 1), (6, 4), VOXELS[3, 2, 5]),
        ((1.0, 1, 1), (5, 4), VOXELS[3, 4, 3]),
    ],
)
def test_the_slice_is_cut_across_the_thickest_axis(spacing, shape, corner):
    shown, _, _ = slice_for_people(VOXELS, np.diag((*spacing, 1.0)), None)
    assert shown.shape == shape
    assert shown[0, 0] == corner


def test_the_slice_is_the_one_with_most_of_the_mask():
    mask = np.zeros(VOXELS.shape, np.uint8)
    mask[1, 1, 1] = mask[1:3, 1:3, 5] = 2
    shown, marked, _ = slice_for_people(VOXELS, np.eye(4), mask)
    np.testing.assert_array_equal(shown, VOXELS[::-1, ::-1, 5].T)
    assert marked is not None
    assert (marked > 0).sum() == 4
