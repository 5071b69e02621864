# SPDX-License-Identifier: Apache-2.0
import itertools
import math

import pytest
import torch
from torch import nn

from fedxai.explain import explain_batch
from fedxai.explain.occlusion import Occlusion
from fedxai.train.occlusion_loss import occlusion_loss


class AddsUp(nn.Module):
    """The logit of class 0 is the sum of the image, that of class 1 is 0; remembers what it was asked."""

    def forward(self, image):
        self.asked = image.detach()
        total = image.flatten(1).sum(dim=1)
        return torch.stack([total, 0 * total], dim=1)


def window_of(side, monkeypatch, scale=1.0):
    """The size of window that is drawn for sides of this length, held still."""
    monkeypatch.setattr(torch, "rand", lambda *_: torch.tensor(2 * scale - 1))
    return round(scale * side / 12)


@pytest.mark.parametrize("space", [(24, 36), (24, 12, 24)])
def test_where_every_window_counts_alike_the_loss_is_minus_log_of_the_mean_share(space, monkeypatch):
    windows = [window_of(side, monkeypatch) for side in space]
    region = torch.zeros(3, 1, *space)
    region[0, :, 5:12, 3:10] = 1
    region[1, :, 8:9, 8:9] = 1
    image = torch.ones(3, 1, *space)
    network = AddsUp()
    losses = occlusion_loss(network, network(image), torch.tensor([0, 0, 0]), image, region)
    for case in range(2):
        places = itertools.product(*(range(side - window + 1) for side, window in zip(space, windows, strict=True)))
        shares = []
        for place in places:
            hidden = tuple(slice(start, start + window) for start, window in zip(place, windows, strict=True))
            shares.append(float(region[(case, 0, *hidden)].mean()))
        assert losses[case].item() == pytest.approx(-math.log(sum(shares) / len(shares)), rel=0.05)
    assert losses[2] == 0


def test_one_window_is_hidden_by_its_share_in_the_region_and_the_others_by_theirs_outside(monkeypatch):
    torch.manual_seed(0)
    window = window_of(48, monkeypatch)
    image, region = torch.full((1, 1, 48, 48), 0.7), torch.zeros(1, 1, 48, 48)
    region[..., 10:18, 20:28] = 1
    image[..., 30:] = -1  # no body there
    network, first, others = AddsUp(), [], []
    logits, label = network(image), torch.tensor([0])
    for _ in range(100):
        occlusion_loss(network, logits, label, image, region, black=-1.0)
        changed = network.asked != image
        assert changed.shape == (3, 1, 48, 48)
        assert (network.asked[changed] == -1).all()
        shares = (changed & (region > 0)).flatten(1).sum(dim=1) / window**2
        first.append(float(shares[0]))
        others += [float((changed[at] & (region == 0)).sum()) for at in (1, 2)]
    assert min(first) > 0
    assert sum(first) / 100 > 0.63, "0.71 in proportion to the share, 0.53 from all that touch the region"
    assert min(others) > 0


def test_a_region_that_is_everything_holds_all_of_the_map():
    image = torch.rand(1, 1, 24, 24) + 0.1
    network = AddsUp()
    loss = occlusion_loss(network, network(image), torch.tensor([0]), image, torch.ones_like(image))
    assert loss.item() == pytest.approx(0, abs=1e-3)


def test_only_the_network_is_taught():
    image, region = torch.rand(2, 1, 24, 24, requires_grad=True), torch.zeros(2, 1, 24, 24)
    region[..., 4:12, 4:12] = 1
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    occlusion_loss(network, network(image).detach(), torch.tensor([0, 1]), image, region).sum().backward()
    assert image.grad is None
    assert network[0].weight.grad.abs().sum() > 0


def test_steps_down_the_occlusion_loss_raise_the_occlusion_mass():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(144, 2))
    image, region = torch.rand(8, 1, 24, 24) + 0.1, torch.zeros(8, 1, 24, 24)
    region[..., 4:12, 4:12] = 1
    labels = torch.tensor([0, 1] * 4)

    def mass():
        found = explain_batch(network, image, targets=labels, methods=[Occlusion(window=2)]).maps["occlusion"].abs()
        return float((found * region).sum() / found.sum())

    before = mass()
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(150):
        loss = occlusion_loss(network, network(image), labels, image, region).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert mass() > before + 0.3
