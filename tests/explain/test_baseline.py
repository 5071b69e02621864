# SPDX-License-Identifier: Apache-2.0
"""Baselines: what stands for an image without information."""

import pytest
import torch
from torch import nn

from fedxai.errors import SettingsError
from fedxai.explain import explain_batch
from fedxai.explain.baseline import BASELINES
from fedxai.explain.integrated_gradients import IntegratedGradients
from fedxai.explain.kernel_shap import KernelShap
from fedxai.explain.occlusion import Occlusion
from fedxai.explain.probe import Probe

AGAINST = [IntegratedGradients, KernelShap, Occlusion]
LINEAR = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
X = torch.rand(2, 1, 6, 6)


def baseline_of(kind, inputs, background=None):
    return BASELINES[kind](Probe(network=LINEAR, inputs=inputs, background=background))


def test_black_is_0_unless_the_input_range_begins_elsewhere():
    assert not baseline_of("black", X).any()
    probe = Probe(network=LINEAR, inputs=X, black=-1.0)
    assert torch.equal(BASELINES["black"](probe), torch.full_like(X, -1.0))


@pytest.mark.parametrize("method", AGAINST)
def test_a_map_from_black_adds_up_from_the_lower_end_of_the_input_range(method):
    attribution = explain_batch(LINEAR, X, targets=1, methods=[method()], black=-1.0).maps[method.name]
    fall = (LINEAR(X) - LINEAR(torch.full_like(X, -1.0)))[:, 1]
    assert torch.allclose(attribution.flatten(1).sum(dim=1), fall, rtol=1e-3, atol=1e-4)


def test_mean_is_the_mean_image_of_the_background():
    background = torch.rand(5, 1, 6, 6)
    assert torch.allclose(baseline_of("mean", X, background), sum(background) / 5)


@pytest.mark.parametrize("shape", [(1, 2, 32, 24), (2, 1, 12, 9, 16)])
def test_blurred_keeps_a_constant_and_the_border(shape):
    assert torch.allclose(baseline_of("blurred", torch.full(shape, 0.7)), torch.tensor(0.7))


def test_blurred_has_little_detail_and_the_same_mean():
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    blurred = baseline_of("blurred", image)
    assert blurred.std() < 0.1 * image.std()
    assert blurred.mean() == pytest.approx(float(image.mean()), abs=0.02)


@pytest.mark.parametrize("method", AGAINST)
def test_an_unknown_baseline_lists_the_known_ones(method):
    with pytest.raises(SettingsError, match="baseline must be one of black, mean, blurred, got 'grey'"):
        method(baseline="grey")


@pytest.mark.parametrize("method", AGAINST)
def test_several_baselines_stand_side_by_side(method):
    """Their influence is reported, so their maps need names of their own; of a linear network sums are exact."""
    background = torch.rand(3, 1, 6, 6)
    answer = explain_batch(LINEAR, X, targets=1, methods=[method(baseline=b) for b in BASELINES], background=background)
    name = method.name
    assert list(answer.maps) == [name, f"{name}_mean", f"{name}_blurred"]
    for kind, attribution in zip(BASELINES, answer.maps.values(), strict=True):
        fall = (LINEAR(X) - LINEAR(baseline_of(kind, X, background).expand_as(X)))[:, 1]
        assert torch.allclose(attribution.sum(dim=(1, 2, 3)), fall.detach(), atol=1e-5)
