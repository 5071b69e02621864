# SPDX-License-Identifier: Apache-2.0
"""Asked again is the same question, of another network and of changed images."""

import copy

import pytest
import torch
from torch import nn

from fedxai.score import Asked


@pytest.fixture
def segmenter():
    torch.manual_seed(0)
    return nn.Conv2d(1, 2, 3, padding=1)


@pytest.fixture
def asked(segmenter):
    images = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    return Asked(network=segmenter, inputs=images, targets=torch.tensor([1, 1]), method="gradient_x_input")


def test_another_network_is_asked_about_what_was_segmented_in_the_unchanged_image(asked, segmenter):
    """It segments nothing of the class itself; with the image moved, what lies there now counts."""
    later = copy.deepcopy(segmenter)
    with torch.no_grad():
        later.bias[1] -= 100
    assert asked.relevance.any()
    torch.testing.assert_close(asked.explain(asked.inputs, network=later), asked.relevance)
    assert not asked.explain(asked.inputs, network=later, moved=True).any()


def test_a_moved_image_has_its_own_region(asked):
    moved = asked.inputs.roll(3, dims=-1)
    own = asked.explain(moved, moved=True)
    torch.testing.assert_close(own[..., 5:-2], asked.relevance.roll(3, dims=-1)[..., 5:-2])
    assert not torch.allclose(own, asked.explain(moved))
