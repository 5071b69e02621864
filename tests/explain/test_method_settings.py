# SPDX-License-Identifier: Apache-2.0
"""Settings of methods are checked when a method is made."""

import pytest
import torch
from torch import nn

from fedxai.errors import ExplanationError, SettingsError
from fedxai.explain import explain_batch
from fedxai.explain.expected_gradients import ExpectedGradients, draws
from fedxai.explain.integrated_gradients import IntegratedGradients
from fedxai.explain.kernel_shap import KernelShap
from fedxai.explain.occlusion import Occlusion
from fedxai.explain.smooth_grad import SmoothGrad


@pytest.mark.parametrize(
    ("method", "setting", "value", "least"),
    [
        (SmoothGrad, "samples", 0, 1),
        (IntegratedGradients, "steps", 0, 1),
        (IntegratedGradients, "steps", 2.0, 1),
        (ExpectedGradients, "samples", -1, 1),
        (KernelShap, "supervoxels", 0, 1),
        (KernelShap, "samples", 1, 2),
        (Occlusion, "window", 0, 1),
        (Occlusion, "window", True, 1),
    ],
)
def test_a_count_is_a_whole_number_that_is_large_enough(method, setting, value, least):
    with pytest.raises(SettingsError, match=f"{setting} must be a whole number of at least {least}, got {value}"):
        method(**{setting: value})


@pytest.mark.parametrize(
    ("method", "setting", "most"), [(SmoothGrad, "noise", 10), (IntegratedGradients, "grading", 20)]
)
@pytest.mark.parametrize("value", [-0.1, 21.0, float("nan"), float("inf"), "1", True])
def test_an_amount_is_a_number_within_reason(method, setting, most, value):
    with pytest.raises(SettingsError, match=f"{setting} must be a number from 0 to {most}, got {value!r}"):
        method(**{setting: value})


@pytest.mark.parametrize("settings", [{"stride": 2}, {"window": 3, "stride": 4}])
def test_windows_leave_no_gaps(settings):
    with pytest.raises(SettingsError, match="stride must be at most the window"):
        Occlusion(**settings)


@pytest.mark.parametrize(("images", "samples"), [(1, 4), (3, 8), (4, 4), (10, 4), (40, 64), (33, 64)])
def test_samples_are_shared_out_over_the_background_and_along_the_line(images, samples):
    drawn = draws(images=images, samples=samples, seed=0)
    assert len(drawn) == samples
    assert sum(weight for _, _, weight in drawn) == pytest.approx(1)
    places = {place for place, _, _ in drawn}
    assert len(places) == min(images, samples)
    assert places <= set(range(images))
    for place in places:
        mine = [(t, weight) for other, t, weight in drawn if other == place]
        assert sum(weight for _, weight in mine) == pytest.approx(1 / len(places))
        if len(mine) > 1:
            assert [t for t, _ in mine] == pytest.approx([(part + 0.5) / len(mine) for part in range(len(mine))])
    assert sum(weight * t for _, t, weight in drawn) == pytest.approx(0.5)
    if samples <= images:
        assert sorted(t for _, t, _ in drawn) == pytest.approx([(part + 0.5) / samples for part in range(samples)])


def test_smooth_grad_without_noise_is_saliency(small):
    maps = explain_batch(small.network, small.inputs, methods=["saliency", SmoothGrad(samples=2, noise=0)]).maps
    assert torch.allclose(maps["smooth_grad"], maps["saliency"])


def test_another_seed_draws_other_noise(small):
    maps = [
        explain_batch(small.network, small.inputs, methods=[SmoothGrad(samples=2, seed=seed)]).maps["smooth_grad"]
        for seed in (0, 1)
    ]
    assert not torch.allclose(maps[0], maps[1])


def test_the_hidden_window_gets_all_the_credit():
    """Of a network that reads one voxel, only the windows that hold it count."""
    network, x = nn.Sequential(nn.Flatten(), nn.Linear(36, 1, bias=False)), torch.ones(1, 1, 6, 6)
    with torch.no_grad():
        network[1].weight.zero_()[0, 7] = 2.0
    got = explain_batch(network, x, methods=[Occlusion(window=2)]).maps["occlusion"]
    wanted = torch.zeros(6, 6)
    wanted[:2, :2] = 2.0
    assert torch.equal(got[0, 0], wanted)


def test_a_window_larger_than_the_image_hides_it_all(small):
    answer = explain_batch(small.network, small.inputs, targets=0, methods=[Occlusion(window=99)])
    with torch.no_grad():
        fall = answer.logits[:, 0] - small.network.eval()(torch.zeros_like(small.inputs))[:, 0]
    assert torch.allclose(answer.maps["occlusion"], fall.view(-1, 1, 1, 1).expand_as(answer.maps["occlusion"]))


class Gelu(nn.Module):
    def forward(self, x):
        return nn.functional.gelu(x).flatten(2).mean(dim=2)


class Relu(nn.Module):
    """ReLU as a function, a tensor method, and in place."""

    def __init__(self, relu):
        super().__init__()
        self.relu = relu

    def forward(self, x):
        return (-self.relu(x + 0)).flatten(2).sum(dim=2) * torch.tensor([1.0, -1.0])


def test_guided_backprop_without_relu_is_refused():
    with pytest.raises(ExplanationError, match="guided_backprop changes ReLU, and this network has none"):
        explain_batch(Gelu(), torch.rand(1, 2, 4, 4), methods=["guided_backprop"])


@pytest.mark.parametrize(
    "relu", [nn.functional.relu, torch.relu, torch.Tensor.relu, torch.relu_, nn.ReLU(), nn.ReLU(inplace=True)]
)
def test_guided_backprop_lets_only_positive_gradients_pass_every_kind_of_relu(relu):
    x = torch.randn(2, 2, 4, 4)
    maps = [
        explain_batch(Relu(relu), x, targets=target, methods=["guided_backprop"]).maps["guided_backprop"]
        for target in (0, 1)
    ]
    assert not maps[0].any()
    wanted = torch.zeros_like(x)
    wanted[:, 1] = (x[:, 1] > 0).float()
    assert torch.equal(maps[1], wanted)


@pytest.mark.parametrize("shape", [(16, 24), (8, 12, 20)])
def test_occlusion_hides_a_64th_at_a_time_of_images_and_of_volumes(shape):
    network = nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    image = torch.rand(1, 1, *shape)
    network(image)
    assert explain_batch(network, image, methods=["occlusion"]).forwards == 64
