# SPDX-License-Identifier: Apache-2.0
"""A method that makes no sense for a network says so, and the others go on."""

import pytest
import torch
from torch import nn

from fedxai.errors import ExplanationError
from fedxai.explain import METHODS, answering


@pytest.fixture
def pooled():
    """A convolution, then one cell."""
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)
    )


def test_a_target_layer_of_one_cell_is_refused_by_name(pooled):
    image = torch.rand(1, 1, 8, 8, 8)
    able, refused = answering(pooled, [image], methods=["saliency", "grad_cam", "layer_cam"], target_layer="2")
    assert able == ["saliency"]
    assert set(refused) == {"grad_cam", "layer_cam"}
    assert "target_layer '2' puts out a single cell, (1, 4, 1, 1, 1)" in refused["grad_cam"]
    assert "choose a layer before pooling" in refused["grad_cam"]


class Transformer(nn.Module):
    """Eight tokens of 8 x 8 x 8 voxels, one block, their mean to two logits."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv3d(1, 12, 8, stride=8)
        self.block = nn.TransformerEncoderLayer(12, 2, dim_feedforward=12, activation="gelu", batch_first=True)
        self.head = nn.Linear(12, 2)

    def forward(self, image):
        return self.head(self.block(self.patch(image).flatten(2).mT).mean(dim=1))


def test_a_transformer_has_no_maps_of_layers_and_no_relu_and_all_other_methods():
    cheap = [name for name in METHODS if name not in ("kernel_shap", "expected_gradients", "smooth_grad")]
    able, refused = answering(Transformer(), [torch.rand(1, 1, 16, 16, 16)], methods=cheap, target_layer="block")
    assert {name for name in cheap if METHODS.make(name).needs_layer} | {"guided_backprop"} == set(refused)
    assert "must put out (B, K, *cells) with 3 spatial axes, got (1, 8, 12)" in refused["grad_cam"]
    assert "saliency" in able


def test_where_no_method_answers_that_is_one_sentence(pooled):
    with pytest.raises(ExplanationError, match="none of the asked methods can explain this network: .*single cell"):
        answering(pooled, [torch.rand(1, 1, 8, 8, 8)], methods=["grad_cam"], target_layer="2")


def test_an_unknown_method_is_refused_with_the_known_ones(pooled):
    able, refused = answering(pooled, [torch.rand(1, 1, 8, 8, 8)], methods=["saliency", "magic"])
    assert able == ["saliency"]
    assert "choose from" in refused["magic"]


def test_a_network_is_tried_once_in_the_passes_that_its_methods_share(pooled):
    asked = []
    pooled[0].register_forward_hook(lambda module, inputs, output: asked.append(len(output)))
    methods = ["saliency", "gradient_x_input", "grad_cam"]
    image = torch.rand(1, 1, 8, 8, 8)
    first = answering(pooled, [image], methods=methods, target_layer="1")
    assert (first, len(asked)) == ((methods, {}), 1)
    with torch.no_grad():
        pooled[4].weight.zero_()  # another round's weights
    assert answering(pooled, [image], methods=methods, target_layer="1") == first
    assert len(asked) == 1
    answering(pooled, [torch.rand(1, 1, 9, 8, 8)], methods=methods, target_layer="1")
    assert len(asked) == 2


class OfOneSize(nn.Module):
    """A network of which maps of layers can be made where the image is 8 long."""

    def __init__(self):
        super().__init__()
        self.see = nn.Conv3d(1, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, image):
        cells = self.see(image)
        return self.head((cells if image.shape[2] == 8 else self.see(image) + 0 * cells).mean(dim=(2, 3, 4)))


@pytest.mark.parametrize("sizes", [(8, 9), (9, 8), (9, 9, 8)])
def test_what_one_size_refuses_another_may_answer(sizes):
    images = [torch.rand(1, 1, size, 8, 8) for size in sizes]
    assert answering(OfOneSize(), images, methods=["grad_cam", "saliency"], target_layer="see") == (
        ["grad_cam", "saliency"],
        {},
    )
    able, refused = answering(OfOneSize(), images[:1] * 3, methods=["grad_cam", "saliency"], target_layer="see")
    assert (able, list(refused)) == ((["grad_cam", "saliency"], []) if sizes[0] == 8 else (["saliency"], ["grad_cam"]))


def test_no_more_images_are_made_than_are_needed(pooled):
    made = []

    def images():
        for _ in range(3):
            made.append(torch.rand(1, 1, 8, 8, 8))
            yield made[-1]

    answering(pooled, images(), methods=["saliency"])
    assert len(made) == 1


def test_what_was_answered_once_cannot_be_changed_by_whoever_got_it(pooled):
    able, refused = answering(pooled, [torch.rand(1, 1, 8, 8, 8)], methods=["saliency"])
    able.clear()
    refused["saliency"] = "no"
    assert answering(pooled, [torch.rand(1, 1, 8, 8, 8)], methods=["saliency"]) == (["saliency"], {})


def test_what_failed_for_the_moment_is_tried_again(pooled):
    full = pooled[0].register_forward_hook(lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    image = torch.rand(1, 1, 8, 8, 8)
    with pytest.raises(ExplanationError, match=r"cannot answer for images \(1, 1, 8, 8, 8\): OutOfMemoryError"):
        answering(pooled, [image], methods=["saliency"])
    full.remove()
    assert answering(pooled, [image], methods=["saliency"]) == (["saliency"], {})
