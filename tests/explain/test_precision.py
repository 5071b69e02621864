# SPDX-License-Identifier: Apache-2.0
"""Half precision: bfloat16 deviates by a measured share, float16 is refused."""

import pytest
import torch

from fedxai.errors import ExplanationError
from fedxai.explain import METHODS, explain_batch
from fedxai.explain.expected_gradients import ExpectedGradients
from fedxai.explain.guided_backprop import GuidedBackprop
from fedxai.explain.integrated_gradients import IntegratedGradients
from fedxai.explain.kernel_shap import KernelShap
from fedxai.explain.occlusion import Occlusion
from fedxai.explain.smooth_grad import SmoothGrad

ONE_PASS = ["saliency", "gradient_x_input", *(name for name in METHODS if METHODS.make(name).needs_layer)]
OTHERS = [
    SmoothGrad(samples=4),
    IntegratedGradients(steps=8),
    ExpectedGradients(samples=8),
    KernelShap(supervoxels=4, samples=32),
    Occlusion(window=12),
    GuidedBackprop(),
]
# relative L2; measured: class activation maps 0.5 %, KernelSHAP 2 %, IG, SmoothGrad, expected gradients 4 %, occlusion
# 5 %, one gradient 8 % and guided 11 %, as ReLUs tip over
ALLOWED = {name: 0.01 if METHODS.make(name).needs_layer else 0.12 for name in METHODS}


def maps_of(study):
    return explain_batch(
        study.network,
        study.inputs,
        targets=study.targets,
        methods=[*ONE_PASS, *OTHERS],
        target_layer=study.layer,
        background=torch.rand(2, *study.inputs.shape[1:], generator=torch.Generator().manual_seed(1)),
    ).maps


def assert_near(got, wanted):
    assert set(wanted) == set(METHODS)
    for name, attribution in wanted.items():
        deviation = float((got[name] - attribution).norm() / attribution.norm())
        assert 0 < deviation < ALLOWED[name], (name, deviation)


@pytest.mark.parametrize("dims", [2, 3])
def test_maps_of_a_bfloat16_network_are_single_precision_and_near(make_study, dims):
    study = make_study("group norm", dims)
    wanted = maps_of(study)
    study.network = study.network.bfloat16()
    got = maps_of(study)
    assert {attribution.dtype for attribution in got.values()} == {torch.float32}
    assert_near(got, wanted)


@pytest.mark.parametrize("dims", [2, 3])
def test_maps_under_autocast_to_bfloat16_are_near(make_study, dims):
    study = make_study("group norm", dims)
    wanted = maps_of(study)
    with torch.autocast("cpu", torch.bfloat16):
        got = maps_of(study)
    assert_near(got, wanted)


def test_half_precision_images_are_explained_in_the_networks_precision(small):
    wanted = explain_batch(small.network, small.inputs.half().float(), targets=0, methods=["saliency"])
    got = explain_batch(small.network, small.inputs.half(), targets=0, methods=["saliency"])
    assert torch.equal(got.maps["saliency"], wanted.maps["saliency"])


def test_a_float16_network_is_refused(small):
    small.network = small.network.half()
    with pytest.raises(ExplanationError, match="float16, in which gradients underflow; explain it in bfloat16"):
        explain_batch(small.network, small.inputs.half(), methods=["saliency"])


def test_float16_inside_is_refused_where_the_logits_are_float32(small):
    """Autocast to float16, or a last layer in float32, hides it from whoever looks at the logits only."""
    ending = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1).half(), Wide())
    with pytest.raises(ExplanationError, match="computes in float16, in which gradients underflow"):
        explain_batch(ending, torch.rand(1, 1, 8, 8), methods=["saliency"])
    ending.float()
    with (
        torch.autocast("cpu", torch.float16),
        pytest.raises(ExplanationError, match="under autocast to float16, in which gradients underflow"),
    ):
        explain_batch(ending, torch.rand(1, 1, 8, 8), methods=["saliency"])


class Wide(torch.nn.Module):
    def forward(self, features):
        return features.float().mean(dim=(2, 3))
