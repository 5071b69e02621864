# SPDX-License-Identifier: Apache-2.0
"""The region of explain.json lies where the image shows it."""

import numpy as np
import pytest
import torch

AXES = 2


@pytest.fixture
def bring(bundle):
    """Bring a mask file onto the network's grid, as an examination does."""
    parser = bundle.parser()
    parser.set(bundle.explain.region, "brought_region")
    transform = parser.get_parsed_content("brought_region")
    return lambda file: torch.as_tensor(transform({"region": str(file)})["region"])


@pytest.fixture
def corner():
    """A mask in the upper right corner of a wide picture: no symmetry maps it onto itself."""
    mask = np.zeros((40, 72), dtype=np.uint8)
    mask[3:13, 45:66] = 255
    return mask


def _overlap(one, other):
    return float((one & other).sum() / (one | other).sum())


def test_a_region_is_zero_or_one_on_the_images_grid(bring, picture, corner, grid):
    region = bring(picture(corner))
    assert tuple(region.shape) == (1, *grid)
    assert set(region.unique().tolist()) == {0, 1}


def test_a_region_keeps_its_row_and_column(bring, picture, corner, grid):
    region = bring(picture(corner))[0].bool()
    expected = torch.zeros(grid, dtype=torch.bool)
    expected[3 * grid[0] // 40 : 13 * grid[0] // 40, 45 * grid[1] // 72 : 66 * grid[1] // 72] = True
    assert _overlap(region, expected) > 0.8
    assert _overlap(region, expected.T) == 0


def test_image_and_region_agree_where_the_lesion_is(bring, prepare, picture, corner):
    region = bring(picture(corner, "mask.png"))[0].bool()
    lesion = prepare(picture(corner // 2, "image.png"))[0] > 0.5
    assert _overlap(region, lesion) > 0.8
    for turned in (lesion.T, lesion.flip(0), lesion.flip(1), lesion.flip(0, 1)):
        assert _overlap(region, turned) < 0.1


def test_a_region_is_resized_with_the_nearest_neighbour(bring, picture, grid):
    """Against a slow restatement, at four times the size so that no index falls on an edge of rounding."""
    shape = tuple(4 * size for size in grid)
    mask = (np.random.default_rng(0).random(shape) < 0.3).astype(np.uint8) * 255
    slow = np.array([[mask[4 * row, 4 * column] for column in range(grid[1])] for row in range(grid[0])]) // 255
    assert np.array_equal(bring(picture(mask))[0].numpy(), slow)


def test_a_small_region_of_the_size_of_the_grid_is_kept_to_the_pixel(bring, picture, grid):
    mask = np.zeros(grid, dtype=np.uint8)
    mask[5, 40] = 255
    assert bring(picture(mask))[0].nonzero().tolist() == [[5, 40]]


def test_an_empty_region_stays_empty(bring, picture):
    assert not bring(picture(np.zeros((40, 72), dtype=np.uint8))).any()
