# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from fedxai.errors import BundleError
from fedxai.explain import explain_batch
from fedxai.explain.hard_gate import HardGate, softened
from fedxai.settings import GuidanceSettings
from fedxai.train.gated import Gated
from fedxai.train.guidance import Guidance, relevance_loss


def network(spatial_dims=2, **settings):
    torch.manual_seed(0)
    convolution, pool = {2: (nn.Conv2d, nn.AdaptiveAvgPool2d), 3: (nn.Conv3d, nn.AdaptiveAvgPool3d)}[spatial_dims]
    return Gated(
        relevance=convolution(1, 1, 3, padding=1),
        classifier=nn.Sequential(
            convolution(1, 8, 3), nn.ReLU(), pool(4), nn.Flatten(), nn.Linear(8 * 4**spatial_dims, 3)
        ),
        **settings,
    )


@pytest.mark.parametrize(("spatial_dims", "space"), [(2, (32, 24)), (3, (16, 16, 12))])
def test_logits_have_one_row_a_case(spatial_dims, space):
    assert network(spatial_dims)(torch.rand(2, 1, *space)).shape == (2, 3)


def test_the_gate_is_the_threshold_grown_by_the_margin():
    relevance = torch.full((1, 1, 9, 9), -5.0)
    relevance[0, 0, 4, 3] = 0.1
    opened = HardGate(margin=2).eval()(relevance)
    wanted = torch.zeros(9, 9)
    wanted[2:7, 1:6] = 1
    assert torch.equal(opened[0, 0], wanted)
    assert torch.equal(HardGate(margin=0, threshold=0.6, jitter=0).eval()(relevance), torch.ones(1, 1, 9, 9))


def test_a_gate_that_knows_nothing_is_open_and_each_image_has_its_own():
    relevance = torch.full((2, 1, 8, 8), -5.0)
    relevance[1, 0, 0, 0] = 5.0
    opened = HardGate(margin=0).eval()(relevance)
    assert opened[0].min() == 1
    assert opened[1].sum() == 1


def test_before_any_region_it_is_the_plain_classifier():
    net, image = network().eval(), torch.rand(4, 1, 32, 32)
    assert torch.equal(net(image), net.classifier(image))


def test_what_the_gate_hides_cannot_change_the_answer_through_the_classifier():
    net, image = network(gate={"margin": 1}).eval(), torch.rand(2, 1, 32, 32)
    relevance = torch.full((2, 1, 32, 32), -5.0)
    relevance[:, :, 8:12, 8:12] = 5.0
    net.relevance.register_forward_hook(lambda *_: relevance)
    other = torch.rand_like(image)
    other[:, :, 7:13, 7:13] = image[:, :, 7:13, 7:13]
    assert torch.equal(net(image), net(other))
    found = explain_batch(net, image, methods=["saliency"]).maps["saliency"]
    assert found[:, :, 7:13, 7:13].min() > 0
    found[:, :, 7:13, 7:13] = 0
    assert not found.any()


def test_only_regions_teach_the_gate_and_the_classifiers_loss_does_not():
    net, image = network(), torch.rand(2, 1, 32, 32)
    net(image).square().sum().backward()
    untaught = {name for name, part in net.named_parameters() if part.grad is None}
    assert untaught == {"relevance.weight", "relevance.bias"}
    region = torch.zeros(2, 1, 32, 32)
    region[:, :, 4:9, 4:9] = 1
    relevance_loss(net.relevance(image), region).sum().backward()
    assert all(part.grad is not None for part in net.parameters())
    Guidance(GuidanceSettings(terms=("relevance",)), network=net, relevance_layer="relevance")  # pyright: ignore


def test_softened_the_relevance_has_a_gradient_and_all_is_back_after():
    net, image = network().eval(), torch.rand(1, 1, 32, 32)
    before = net(image)
    with softened(net) as gated:
        assert gated
        net(image).sum().backward()
    assert net.get_parameter("relevance.weight").grad.abs().sum() > 0
    assert torch.equal(net(image), before)
    with softened(nn.Linear(1, 1)) as gated:
        assert not gated


def test_in_training_the_threshold_is_drawn_for_each_image():
    torch.manual_seed(0)
    relevance = torch.linspace(-2, 2, 64).view(1, 1, 8, 8).expand(200, 1, 8, 8)
    sizes = HardGate(margin=0)(relevance).sum(dim=(1, 2, 3))
    level = torch.sigmoid(relevance[0])
    assert sizes.min() >= (level > 0.7).sum()
    assert sizes.max() <= (level > 0.3).sum()
    assert len(sizes.unique()) > 5


@pytest.mark.parametrize("settings", [{"margin": -1}, {"threshold": 1.0}, {"jitter": 0.6}, {"jitter": -0.1}])
def test_settings_that_break_a_rule_are_named(settings):
    with pytest.raises(BundleError, match="a gate's margin must be at least 0 and its threshold with its jitter"):
        network(gate=settings)


def test_a_relevance_without_a_bias_is_refused():
    with pytest.raises(BundleError, match="must end with a layer that has weight and bias"):
        Gated(relevance=nn.Conv2d(1, 1, 1, bias=False), classifier=nn.Flatten())
