# SPDX-License-Identifier: Apache-2.0
import itertools
import re

import pytest
import torch

from fedxai.errors import BundleError
from fedxai.train.local_evidence import LocalEvidence, Standardised2d, Standardised3d


def network(spatial_dims=2, **settings):
    torch.manual_seed(0)
    given = {"channels": [8, 8, 8], "strides": [2, 1, 2], **settings}
    return LocalEvidence(spatial_dims=spatial_dims, in_channels=1, classes=3, **given).eval()


@pytest.mark.parametrize(("spatial_dims", "space"), [(2, (32, 24)), (3, (16, 16, 12))])
def test_logits_have_one_row_a_case(spatial_dims, space):
    assert network(spatial_dims)(torch.rand(2, 1, *space)).shape == (2, 3)


@pytest.mark.parametrize("sharpness", [1.0, 3.0])
def test_the_logits_are_the_relevance_weighted_mean_of_the_evidence(sharpness):
    net, image = network(sharpness=sharpness), torch.rand(2, 1, 32, 32)
    heard = {}
    for name in ("evidence", "relevance"):
        getattr(net, name).register_forward_hook(lambda _, __, out, name=name: heard.update({name: out}))
    logits = net(image)
    for case in range(2):
        weights = torch.sigmoid(heard["relevance"][case, 0]) ** sharpness
        total = sum(weights[y, x] * heard["evidence"][case, :, y, x] for y in range(weights.shape[0]) for x in range(8))
        torch.testing.assert_close(logits[case], total / weights.sum())


@pytest.mark.parametrize("context", [[], [6]])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_both_heads_know_where_a_cell_lies(spatial_dims, context):
    net, heard = network(spatial_dims, context=context, channels=[8], strides=[1]), {}
    for name in ("evidence", "relevance"):
        getattr(net, name).register_forward_pre_hook(lambda _, given, name=name: heard.update({name: given[0]}))
    net(torch.rand(2, 1, *range(5, 5 + 2 * spatial_dims, 2)))  # 5 x 7 (x 9) cells
    for told in heard.values():
        for cell in itertools.product(*(range(size) for size in told.shape[2:])):
            place = [2 * at / (size - 1) - 1 for at, size in zip(cell, told.shape[2:], strict=True)]
            expected = torch.tensor([*place, sum(at**2 for at in place)]).expand(2, -1)
            torch.testing.assert_close(told[(slice(None), slice(8, 8 + spatial_dims + 1), *cell)], expected)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_cell_hears_nothing_from_outside_its_receptive_field(spatial_dims):
    """Strides 2, 1, 2 with 3-wide kernels: a cell sees 11 voxels; the first one is blind beyond the sixth."""
    net, image = network(spatial_dims), torch.rand(1, 1, *[24] * spatial_dims)
    other = image.clone()
    other[:, :, 8:] = 100 * torch.rand_like(other[:, :, 8:])
    heard = []
    net.evidence.register_forward_hook(lambda _, __, out: heard.append(out))
    net(image), net(other)
    assert torch.equal(heard[0][:, :, 0], heard[1][:, :, 0])
    assert not torch.equal(heard[0][:, :, 4], heard[1][:, :, 4])


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_with_a_context_the_relevance_looks_further_and_the_evidence_does_not(spatial_dims):
    net, image = network(spatial_dims, context=[6, 7]), torch.rand(1, 1, *[24] * spatial_dims)
    other = image.clone()
    other[:, :, 8:] = 100 * torch.rand_like(other[:, :, 8:])
    heard = {"evidence": [], "relevance": []}
    for name, told in heard.items():
        getattr(net, name).register_forward_hook(lambda _, __, out, told=told: told.append(out[:, :, 0]))
    net(image), net(other)
    assert torch.equal(*heard["evidence"])
    assert not torch.equal(*heard["relevance"])


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("context", [[6], [6, 7], [6, 7, 5]])
def test_a_context_fits_any_grid_and_every_level_of_it_learns(spatial_dims, context):
    net = network(spatial_dims, context=context)
    space = (21, 30, 17)[:spatial_dims]
    told = []
    net.relevance.register_forward_hook(lambda _, __, out: told.append(out))
    assert net(torch.rand(2, 1, *space)).shape == (2, 3)
    assert told[0].shape[2:] == net.features(torch.rand(1, 1, *space)).shape[2:]
    told[0].square().sum().backward()
    assert all(bool(value.grad.any()) for name, value in net.context.named_parameters() if name.endswith("weight"))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_context_goes_down_a_level_at_a_time_and_up_past_each(spatial_dims):
    """Against the steps of the paper written out for two levels."""
    net = network(spatial_dims, context=[6, 7]).context
    cells = torch.rand(1, 8, *[12] * spatial_dims)
    first = net.down[0](cells)
    second = net.down[1](first)
    assert [level.shape[2] for level in (first, second)] == [6, 3]
    wide = net.up[0](torch.cat([first, enlarged(second)], dim=1))
    torch.testing.assert_close(net(cells), enlarged(wide))


def enlarged(cells):
    mode = {4: "bilinear", 5: "trilinear"}[cells.ndim]
    return torch.nn.functional.interpolate(cells, scale_factor=2, mode=mode, align_corners=False)


@pytest.mark.parametrize("convolution", [Standardised2d, Standardised3d])
def test_a_standardised_convolution_keeps_the_size_of_a_signal_and_does_not_hear_its_level(convolution):
    """Against the paper's formula, kernel by kernel; gain and bias are the ones that are learned."""
    torch.manual_seed(0)
    layer, axes = convolution(16, 64, 3), 2 if convolution is Standardised2d else 3
    image = torch.randn(4, 16, *[9] * axes).relu()
    with torch.no_grad():
        layer.weight.mul_(7.0).add_(3.0)
        layer.gain.uniform_(0.5, 2.0)
        expected = torch.stack(
            [
                layer.gain[k]
                * (2 / (1 - 1 / torch.pi)) ** 0.5
                * (w - w.mean())
                / (w.std(correction=0) * w.numel() ** 0.5)
                for k, w in enumerate(layer.weight)
            ]
        )
        plain = {2: torch.nn.functional.conv2d, 3: torch.nn.functional.conv3d}[axes]
        torch.testing.assert_close(layer(image), plain(image, expected, layer.bias), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(layer(image + 5), layer(image), rtol=1e-3, atol=1e-3)
        layer.reset_parameters()
        assert (layer.gain == 1).all()
        assert float(layer(torch.randn_like(image).relu()).std()) == pytest.approx(1, abs=0.2)


def test_hundreds_of_irrelevant_cells_are_outweighed_by_a_few_relevant_ones_only_where_weights_are_sharp():
    relevance = torch.full((1, 1, 24, 24), -4.0)
    relevance[..., 10:13, 10:13] = 4.0
    for sharpness, least, most in ((1.0, 0.4, 0.5), (3.0, 0.999, 1.0)):
        net = network(channels=[8], strides=[1], sharpness=sharpness)
        net.relevance.register_forward_hook(lambda *_: relevance)
        net.evidence.register_forward_hook(lambda *_: (relevance > 0).float().expand(1, 3, 24, 24))
        share = net(torch.rand(1, 1, 24, 24))
        assert ((share > least) & (share <= most)).all(), sharpness


def test_a_sharpness_that_is_none_is_refused():
    with pytest.raises(BundleError, match="sharpness must be above 0, got 0"):
        network(sharpness=0)


@pytest.mark.parametrize("wrong", [{"channels": [8, 0, 8]}, {"strides": [2, 1, 0]}, {"context": [6, 0]}])
def test_a_layer_without_channels_or_steps_is_refused(wrong):
    [(name, sizes)] = wrong.items()
    with pytest.raises(BundleError, match=re.escape(f"{name} must be numbers above 0, got {sizes}")):
        network(**wrong)


def test_a_wrong_number_of_strides_is_refused():
    with pytest.raises(BundleError, match="channels and strides must be as many and at least one, got 3 and 2"):
        network(strides=[2, 1])
