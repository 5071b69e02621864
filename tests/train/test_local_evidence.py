# SPDX-License-Identifier: Apache-2.0
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


def test_a_wrong_number_of_strides_is_refused():
    with pytest.raises(BundleError, match="channels and strides must be as many and at least one, got 3 and 2"):
        network(strides=[2, 1])
