# SPDX-License-Identifier: Apache-2.0
"""Volumes larger than the network's window: the maps of the whole, from one window in memory at a time."""

import pytest
import torch
from monai.inferers import SimpleInferer, SlidingWindowInferer
from torch import nn

from fedxai.errors import ExplanationError
from fedxai.explain import answering, explain_batch
from fedxai.explain.windowed import Windowed, as_inferred

WINDOW = (8, 8, 8)


class Plain(nn.Module):
    """The windows' network with all windows kept for the backward pass."""

    def __init__(self, network, inferer):
        super().__init__()
        self.network, self.inferer = network, inferer

    def forward(self, images):
        return self.inferer(images, self.network)


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = [nn.Conv3d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv3d(4, 3, 3, padding=1)]
    return nn.Sequential(*layers).eval()


@pytest.fixture
def volume():
    return torch.rand(2, 1, 13, 10, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("mode", ["constant", "gaussian"])
@pytest.mark.parametrize("method", ["gradient_x_input", "saliency", "guided_backprop", "occlusion"])
def test_the_maps_are_those_of_the_blended_whole(network, volume, mode, method):
    inferer = SlidingWindowInferer(WINDOW, sw_batch_size=2, overlap=0.5, mode=mode)
    ask = {"targets": 1, "methods": [method]}
    own, whole = (explain_batch(kind(network, inferer), volume, **ask) for kind in (Windowed, Plain))
    torch.testing.assert_close(own.logits, inferer(volume, network).detach())
    torch.testing.assert_close(own.maps[method], whole.maps[method], rtol=1e-5, atol=1e-6)
    assert own.maps[method].any()


def test_a_volume_smaller_than_the_window_is_padded_as_in_the_evaluation(network):
    inferer, small = SlidingWindowInferer((8, 12, 8)), torch.rand(1, 1, 6, 12, 5)
    explained = explain_batch(Windowed(network, inferer), small, methods=["gradient_x_input"])
    torch.testing.assert_close(explained.logits, inferer(small, network).detach())
    assert explained.maps["gradient_x_input"].shape == small.shape


def _kept(network, images):
    """Bytes that the forward pass keeps for the backward pass."""
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()}) or t, lambda t: t
    ):
        network(images.clone().requires_grad_())
    return sum(kept.values())


def test_no_layers_answer_is_kept_for_the_backward_pass(network, volume):
    inferer = SlidingWindowInferer(WINDOW)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    one_window = _kept(network, volume[:, :, :8, :8, :8])
    assert _kept(Plain(network, inferer), volume) > 3 * one_window
    assert _kept(Windowed(network, inferer), volume) < one_window


def test_maps_of_layers_are_refused_with_the_sizes_and_the_others_go_on(network, volume):
    windowed = Windowed(network, SlidingWindowInferer(WINDOW))
    able, refused = answering(windowed, [volume[:1]], methods=["grad_cam", "saliency"], target_layer="2")
    assert able == ["saliency"]
    assert list(refused) == ["grad_cam"]
    assert "images of 13 x 10 x 8 go through this network in windows of 8 x 8 x 8" in refused["grad_cam"]


def test_an_image_of_the_windows_size_has_every_map_of_the_network_itself(network, volume):
    windowed, image = Windowed(network, SlidingWindowInferer((8, -1, 8))), volume[:, :, :8]
    ask = {"methods": ["grad_cam", "saliency"], "target_layer": "2"}
    own, bare = explain_batch(windowed, image, **ask), explain_batch(network, image, **ask)
    assert all(torch.equal(own.maps[name], bare.maps[name]) for name in bare.maps)


def test_without_a_target_layer_the_layers_of_the_network_itself_are_listed(network, volume):
    with pytest.raises(ExplanationError, match="the network's last layers are 0, 1, 2, 3$"):
        explain_batch(Windowed(network, SlidingWindowInferer(WINDOW)), volume, methods=["grad_cam"])


def test_the_layers_keep_their_own_modes(network):
    network.train()
    network[1].eval()
    windowed = Windowed(network, SlidingWindowInferer(WINDOW))
    assert windowed.training
    assert [module.training for module in network] == [True, False, True, True]


def test_a_bundles_inferer_says_whether_there_are_windows(network):
    assert as_inferred(network, SimpleInferer()) is network
    assert isinstance(as_inferred(network, SlidingWindowInferer(WINDOW)), Windowed)


def test_a_network_of_one_size_refuses_another_with_the_size():
    fixed = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(2 * 8**3, 2))
    explain_batch(fixed, torch.rand(1, 1, 8, 8, 8), methods=["saliency"])
    with pytest.raises(ExplanationError, match=r"cannot answer for images \(1, 1, 9, 8, 8\): mat1 and mat2 shapes"):
        explain_batch(fixed, torch.rand(1, 1, 9, 8, 8), methods=["saliency"])


def test_so_does_one_that_takes_a_size_for_a_wrong_value():
    """As PyTorch's and MONAI's normalisations and transformers do."""
    deep = nn.Sequential(nn.AvgPool3d(8), nn.InstanceNorm3d(1), nn.Flatten(), nn.Linear(1, 2)).train()
    with pytest.raises(ExplanationError, match=r"cannot answer for images \(1, 1, 8, 8, 8\): Expected more than 1"):
        explain_batch(deep, torch.rand(1, 1, 8, 8, 8), methods=["saliency"])
