# SPDX-License-Identifier: Apache-2.0
"""KernelSHAP: supervoxels, coalitions and the regression, each with answers known by hand."""

import itertools

import pytest
import torch
from torch import nn

from fedxai.errors import ExplanationError
from fedxai.explain import explain_batch
from fedxai.explain.kernel_shap import KernelShap, coalitions
from fedxai.explain.supervoxels import supervoxels


@pytest.mark.parametrize(
    ("space", "wanted", "boxes"),
    [((8, 8), 16, 16), ((9, 7), 16, 16), ((12, 12, 12), 64, 64), ((2, 40), 64, 16), ((5,), 3, 3), ((3, 3), 1, 1)],
)
def test_the_grid_has_about_as_many_boxes_as_are_wanted(space, wanted, boxes):
    labels = supervoxels(space, wanted)
    assert labels.shape == space
    assert labels.unique().tolist() == list(range(boxes))


@pytest.mark.parametrize("space", [(9, 7), (10, 11, 5)])
def test_every_supervoxel_is_a_box_and_sides_differ_by_at_most_a_voxel(space):
    labels = supervoxels(space, 3 ** len(space))
    sides = []
    for label in labels.unique():
        places = (labels == label).nonzero()
        box = places.amax(dim=0) - places.amin(dim=0) + 1
        assert len(places) == int(box.prod())
        sides.append(box)
    assert int((torch.stack(sides).amax(dim=0) - torch.stack(sides).amin(dim=0)).max()) <= 1


def test_where_the_samples_suffice_every_coalition_is_asked_once():
    shown, weights = coalitions(4, samples=14, seed=0)
    assert {tuple(row) for row in shown.tolist()} == set(itertools.product([False, True], repeat=4)) - {
        (False,) * 4,
        (True,) * 4,
    }
    assert len(shown) == 14
    by_size = {int(row.sum()): float(weight) for row, weight in zip(shown, weights, strict=True)}
    assert by_size == pytest.approx({1: 3 / (4 * 3), 2: 3 / (6 * 4), 3: 3 / (4 * 3)})


def test_else_coalitions_are_drawn_in_pairs_by_the_kernel():
    shown, weights = coalitions(10, samples=1000, seed=0)
    assert torch.equal(shown[500:], ~shown[:500])
    assert (weights == 1).all()
    sizes = shown.sum(dim=1).bincount(minlength=11)[1:10] / len(shown)
    kernel = torch.tensor([1 / (s * (10 - s)) for s in range(1, 10)])
    assert torch.allclose(sizes, kernel / kernel.sum(), atol=0.04)
    assert not torch.equal(shown, coalitions(10, samples=1000, seed=1)[0])


def test_too_few_draws_for_the_regression_are_refused():
    with pytest.raises(ExplanationError, match="samples must be at least 4 a supervoxel: 40 for 10, got 38"):
        coalitions(10, samples=38, seed=0)


def test_of_a_linear_network_the_value_of_a_box_is_its_part_of_the_logit():
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Flatten(), nn.Linear(2 * 64, 2)), torch.rand(2, 2, 8, 8)
    got = explain_batch(network, x, targets=1, methods=[KernelShap(supervoxels=16, samples=100)]).maps["kernel_shap"]
    parts = (x * network[1].weight[1].view(2, 8, 8)).sum(dim=1, keepdim=True).detach()
    boxes = nn.functional.avg_pool2d(parts, 2)
    assert torch.allclose(got, nn.functional.interpolate(boxes, scale_factor=2), atol=1e-6)


def test_it_takes_a_forward_a_coalition_and_no_further_gradient():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    answer = explain_batch(network, torch.rand(1, 1, 8, 8), methods=[KernelShap(supervoxels=16, samples=64)])
    assert (answer.passes, answer.forwards) == (1, 65)
