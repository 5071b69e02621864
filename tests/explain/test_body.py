# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from fedxai.explain.body import body


@pytest.fixture
def images():
    """Two grey discs of unequal brightness in noisy air; the second lies in the second channel."""
    noise = 0.01 * torch.rand(2, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    noise[0, 0, 2:6, 2:6] = 0.9
    noise[1, 1, 3:7, 3:7] = 0.4
    return noise


@pytest.mark.parametrize(("scale", "black"), [(1.0, 0.0), (255.0, 0.0), (2.0, -1.0), (2000.0, -1000.0)])
def test_what_is_body_does_not_depend_on_the_unit_of_brightness(images, scale, black):
    found = body(scale * images + black, black)
    assert found.shape == (2, 1, 9, 9)
    assert found[0, 0, 2:6, 2:6].all()
    assert found[1, 0, 3:7, 3:7].all()
    assert found.sum() == 32


def test_a_black_image_and_a_volume_of_air_have_none():
    assert not body(torch.zeros(2, 1, 4, 4)).any()
    assert not body(torch.full((1, 1, 4, 4, 4), -1000.0), black=-1000.0).any()
