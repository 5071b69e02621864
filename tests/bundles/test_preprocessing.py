# SPDX-License-Identifier: Apache-2.0
"""From a PNG to the network's input: size, range, black, and chance that a seed repeats."""

import numpy as np
import pytest
import torch

AXES = 2


@pytest.fixture
def augment(bundle, picture, anatomy):
    """Draw augmented versions of one picture, from a seed."""
    file = str(picture(anatomy))

    def draw(seed, times=12):
        transform = bundle.parser().get_parsed_content("train#preprocessing").set_random_state(seed=seed)
        return torch.stack([torch.as_tensor(transform({"image": file, "label": 0})["image"]) for _ in range(times)])

    return draw


def test_the_input_has_the_shape_and_type_of_the_metadata(bundle, grid, prepare, picture, anatomy):
    promised = bundle.metadata["network_data_format"]["inputs"]["image"]
    image = prepare(picture(anatomy))
    assert tuple(image.shape) == (promised["num_channels"], *grid)
    assert str(image.dtype) == f"torch.{promised['dtype']}"


@pytest.mark.parametrize("shape", [(28, 28), (96, 96), (64, 130), (200, 50)])
def test_every_size_of_picture_lands_on_the_grid(grid, prepare, picture, shape):
    pixels = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    assert tuple(prepare(picture(pixels)).shape[1:]) == grid


def test_black_stays_zero_and_the_range_is_used(bundle, grid, prepare, picture, anatomy):
    low, high = bundle.explain.input_range
    image = prepare(picture(anatomy))
    assert image.min() == low == 0
    assert image.max() == pytest.approx(high)
    black_rows = 4 * grid[0] // 40
    assert not image[:, :black_rows].any()


def test_the_metadata_and_the_explanation_name_the_same_range(bundle):
    promised = bundle.metadata["network_data_format"]["inputs"]["image"]["value_range"]
    assert tuple(promised) == bundle.explain.input_range


def test_a_picture_with_one_outlier_keeps_its_contrast(prepare, picture, anatomy):
    spoilt = anatomy.astype(np.uint16) * 100
    spoilt[20, 30] = 65535
    clean, image = prepare(picture(anatomy)), prepare(picture(spoilt, "spoilt.png"))
    assert image.max() <= 1
    assert image.mean() > 0.8 * clean.mean()


def test_eight_and_sixteen_bits_give_the_same_input(prepare, picture, anatomy):
    wide = picture(anatomy.astype(np.uint16) * 257, "wide.png")
    torch.testing.assert_close(prepare(wide), prepare(picture(anatomy)), rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Divide by zero")
@pytest.mark.parametrize("level", [0, 90])
def test_an_empty_picture_stays_black(prepare, picture, level):
    image = prepare(picture(np.full((40, 72), level, dtype=np.uint8)))
    assert not image.any()


def test_augmented_pictures_stay_in_range_and_on_the_grid(augment, grid):
    drawn = augment(seed=3, times=30)
    assert tuple(drawn.shape[1:]) == (1, *grid)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert torch.isfinite(drawn).all()


def test_the_same_seed_draws_the_same_pictures(augment):
    assert torch.equal(augment(seed=3), augment(seed=3))


def test_another_seed_draws_other_pictures(augment):
    assert not torch.equal(augment(seed=3), augment(seed=4))


def test_training_hardly_ever_sees_the_same_picture_twice(augment):
    assert len({tuple(image.flatten().tolist()) for image in augment(seed=3)}) >= 10


def test_validation_has_nothing_random(prepare, picture, anatomy):
    file = picture(anatomy)
    assert torch.equal(prepare(file), prepare(file))
