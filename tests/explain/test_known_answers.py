# SPDX-License-Identifier: Apache-2.0
"""Models whose maps are known by hand."""

import pytest
import torch
from torch import nn

from fedxai.explain import METHODS, explain_batch


class Linear(nn.Module):
    """``f_k(x) = sum_i w_ki x_i + b_k``."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 1, 4, 5))

    def forward(self, x):
        return torch.einsum("bchw,kchw->bk", x, self.weight) + torch.tensor([1.0, -1.0])


def test_saliency_of_a_linear_network_is_its_absolute_weight():
    network, x = Linear(), torch.rand(3, 1, 4, 5)
    got = explain_batch(network, x, targets=[0, 1, 1], methods=["saliency"]).maps["saliency"]
    assert torch.equal(got, network.weight.detach()[[0, 1, 1]].abs())


def test_gradient_x_input_of_a_linear_network_sums_to_its_logit():
    network, x = Linear(), torch.rand(3, 1, 4, 5)
    answer = explain_batch(network, x, targets=1, methods=["gradient_x_input"])
    got = answer.maps["gradient_x_input"]
    assert torch.allclose(got, network.weight.detach()[1] * x)
    assert torch.allclose(got.sum(dim=(1, 2, 3)) - 1.0, answer.logits[:, 1], atol=1e-5)


def test_grad_cam_of_a_mean_over_features_is_the_weighted_features():
    """With logits = mean over space of V A, ``df/dA_k`` is v_k / N everywhere."""
    features, head = nn.Conv2d(1, 3, 1, bias=False), nn.Linear(3, 2, bias=False)
    network = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    x = torch.rand(2, 1, 4, 4)
    got = explain_batch(network, x, targets=0, methods=["grad_cam"], target_layer="0").maps["grad_cam"]
    weight = (head.weight[0] @ features.weight.flatten()).detach() / 16
    assert torch.allclose(got, (weight * x).relu(), atol=1e-6)


def test_grad_cam_hides_what_speaks_against_the_class():
    features, head = nn.Conv2d(1, 1, 1, bias=False), nn.Linear(1, 2, bias=False)
    nn.init.constant_(features.weight, 1.0)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    network = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    maps = [
        explain_batch(network, torch.rand(1, 1, 4, 4), targets=k, methods=["grad_cam"], target_layer="0").maps
        for k in (0, 1)
    ]
    assert maps[0]["grad_cam"].min() > 0
    assert not maps[1]["grad_cam"].any()


@pytest.mark.parametrize("method", list(METHODS))
def test_in_place_relus_change_no_map(method):
    torch.manual_seed(0)
    first, second, head, x = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 2), torch.randn(2, 1, 9, 9)
    maps = [
        explain_batch(
            nn.Sequential(
                first, nn.ReLU(inplace), second, nn.ReLU(inplace), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head
            ),
            x,
            targets=0,
            methods=[method],
            target_layer="2",
            background=x,
        ).maps[method]
        for inplace in (False, True)
    ]
    assert maps[0].any()
    assert torch.equal(*maps)


def test_a_network_that_begins_in_place_is_explained_and_the_image_kept():
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(16, 2, bias=False))
    x = torch.randn(1, 1, 4, 4)
    before = x.clone()
    got = explain_batch(network, x, targets=0, methods=["saliency"]).maps["saliency"]
    weight = network[2].weight[0].detach().view(1, 1, 4, 4)
    assert torch.equal(got, weight.abs() * (before > 0))
    assert torch.equal(x, before)
