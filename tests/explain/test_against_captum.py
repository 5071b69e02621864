# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from captum.attr import InputXGradient, LayerAttribution, LayerGradCam, Saliency

from fedxai.explain import explain_batch


@pytest.fixture
def ours(study):
    return explain_batch(
        study.network,
        study.inputs,
        targets=study.targets,
        methods=["saliency", "gradient_x_input", "grad_cam"],
        target_layer=study.layer,
    )


def assert_same(got, wanted):
    """Within 1e-5 of the reference's largest value, and the reference says something."""
    largest = float(wanted.detach().abs().max())
    assert largest > 0
    assert torch.allclose(got, wanted.detach(), rtol=1e-5, atol=1e-5 * min(largest, 1.0))


def test_saliency_is_captums(study, ours):
    wanted = Saliency(study.network.eval()).attribute(study.inputs.clone(), target=study.targets)
    assert_same(ours.maps["saliency"], wanted)


def test_gradient_x_input_is_captums(study, ours):
    wanted = InputXGradient(study.network.eval()).attribute(study.inputs.clone(), target=study.targets)
    assert_same(ours.maps["gradient_x_input"], wanted)


def test_grad_cam_is_captums(study, ours):
    layer = study.network.eval().get_submodule(study.layer)
    cells = LayerGradCam(study.network, layer).attribute(study.inputs, target=study.targets, relu_attributions=True)
    mode = {2: "bilinear", 3: "trilinear"}[study.dims]
    assert_same(ours.maps["grad_cam"], LayerAttribution.interpolate(cells, study.inputs.shape[2:], mode))


def test_three_maps_took_one_pass(ours):
    assert ours.passes == 1
