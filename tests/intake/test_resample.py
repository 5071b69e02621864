# SPDX-License-Identifier: Apache-2.0
"""Masks on other grids: moved where geometry allows, refused where something would be lost."""

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine, from_matvec

from fedxai.errors import CohortError
from fedxai.intake.resample import onto_grid
from fedxai.intake.volume import Volume

IMAGE = Volume(voxels=np.zeros((12, 10, 8), np.int16), affine=from_matvec(np.diag((1.0, 1.5, 2.0)), (-5, 3, 40)))


def box(low, high, *, shape=(12, 10, 8), affine=IMAGE.affine, value=1):
    """A mask with a box of one value, in indices."""
    voxels = np.zeros(shape, np.uint8)
    voxels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = value
    return Volume(voxels=voxels, affine=affine)


def test_a_mask_on_the_same_grid_passes_unchanged():
    mask = box((2, 3, 1), (7, 8, 6), affine=IMAGE.affine + 1e-6 * np.eye(4) * [[1], [1], [1], [0]])
    moved = onto_grid(mask, IMAGE)
    np.testing.assert_array_equal(moved.voxels, mask.voxels)
    np.testing.assert_array_equal(moved.affine, IMAGE.affine)


@pytest.mark.parametrize("turn", [((0, -1), (1, 1), (2, 1)), ((2, 1), (0, -1), (1, -1)), ((1, -1), (2, 1), (0, 1))])
def test_a_mask_with_turned_axes_comes_back_voxel_for_voxel(turn):
    mask = box((2, 3, 1), (7, 8, 6), value=3)
    stored = Volume(
        voxels=nib.apply_orientation(mask.voxels, np.array(turn)),
        affine=mask.affine @ nib.orientations.inv_ornt_aff(np.array(turn), mask.grid),
    )
    np.testing.assert_array_equal(onto_grid(stored, IMAGE).voxels, mask.voxels)


def _nearest(mask, image):
    """The slow, plain rule: each voxel of the image takes the mask's value at the index nearest to its middle."""
    places = apply_affine(np.linalg.inv(mask.affine) @ image.affine, np.argwhere(np.ones(image.grid)))
    indices = np.floor(places + 0.5).astype(int)
    inside = ((indices >= 0) & (indices < mask.grid)).all(axis=1)
    values = np.zeros(len(indices), np.uint8)
    values[inside] = mask.voxels[tuple(indices[inside].T)]
    return values.reshape(image.grid)


def test_a_finer_oblique_mask_takes_the_nearest_values():
    turned = from_matvec(nib.eulerangles.euler2mat(0.2, 0.1, -0.15) @ np.diag((0.4, 0.35, 0.5)), (-4.2, 3.9, 41))
    mask = box((4, 3, 3), (22, 27, 18), shape=(30, 30, 22), affine=turned, value=2)
    moved = onto_grid(mask, IMAGE)
    np.testing.assert_array_equal(moved.voxels, _nearest(mask, IMAGE))
    assert moved.voxels.max() == 2


def test_a_coarser_mask_and_one_of_a_larger_field_of_view_keep_their_volume():
    coarse = box((1, 1, 1), (4, 4, 3), shape=(6, 5, 4), affine=IMAGE.affine @ np.diag((2.0, 2, 2, 1)))
    wide = box((6, 6, 6), (12, 12, 11), shape=(30, 30, 30), affine=from_matvec(np.diag((1.0, 1.5, 2.0)), (-9, -3, 34)))
    for mask in (coarse, wide):
        moved = onto_grid(mask, IMAGE)
        size = np.prod(mask.spacing) * mask.voxels.sum()
        assert np.prod(IMAGE.spacing) * moved.voxels.sum() == pytest.approx(size, rel=0.1)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (box((0, 0, 0), (9, 9, 7), affine=from_matvec(np.eye(3), (500, 0, 0))), "lies nowhere in the image"),
        (box((0, 0, 0), (9, 9, 7), affine=IMAGE.affine
             + np.array([[0, 0, 0, 6], [0] * 4, [0] * 4, [0] * 4])), r"33\.3% of it lies outside the image"),
        (box((40, 40, 40), (41, 41, 41), shape=(60, 60, 60), affine=from_matvec(np.eye(3) * 0.1, (0, 4, 42))),
         r"value 1 would change its volume by -100% \(at most 10%\)"),
        (Volume(voxels=np.full((4, 4, 4), 0.3), affine=np.eye(4)), "whole numbers for values"),
        (Volume(voxels=np.ones((4, 4, 4, 2)), affine=np.eye(4)), "3 axes and whole numbers"),
    ],
)  # fmt: skip
def test_what_would_be_lost_is_refused(mask, message):
    with pytest.raises(CohortError, match=message):
        onto_grid(mask, IMAGE)


def test_an_empty_mask_on_another_grid_stays_empty():
    moved = onto_grid(box((0, 0, 0), (0, 0, 0), shape=(4, 4, 4)), IMAGE)
    assert moved.grid == IMAGE.grid
    assert not moved.voxels.any()
