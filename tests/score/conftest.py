# SPDX-License-Identifier: Apache-2.0
"""A network whose reason is known, images for it, and methods that must not be trusted."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from fedxai.explain import Method
from fedxai.score.regions import Regions

SIZE = 48


def stripes_network() -> nn.Sequential:
    """Sees upright stripes (class 0) and level stripes (class 1) of period 4 anywhere, and nothing else."""
    wave = torch.arange(7) * math.pi / 2
    upright = torch.stack([(wave + phase * math.pi / 2).cos().expand(7, 7) for phase in range(4)])
    upright = upright - upright.mean(dim=(1, 2), keepdim=True)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 7, padding=3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )
    with torch.no_grad():
        network[0].weight.copy_(torch.cat([upright, upright.mT])[:, None])
        network[0].bias.fill_(-2.5)
        network[4].weight.copy_(torch.tensor([[1.0] * 4 + [-1.0] * 4, [-1.0] * 4 + [1.0] * 4]) * 4)
        network[4].bias.zero_()
    return network.eval()


def stripes_batch(cases: int, *, seed: int = 0) -> dict:
    """Smooth images with a striped disc off the middle: the region; two cases a patient."""
    random = torch.Generator().manual_seed(seed)
    axis = torch.arange(SIZE)
    rows, columns = axis[:, None], axis[None, :]
    images, regions = [], []
    for case in range(cases):
        angle = float(torch.rand((), generator=random)) * 2 * math.pi
        row, column = SIZE / 2 + 14 * math.sin(angle), SIZE / 2 + 14 * math.cos(angle)
        region = (rows - row) ** 2 + (columns - column) ** 2 <= 49
        wave = (columns if case % 2 == 0 else rows) * math.pi / 2
        smooth = avg_pool2d(torch.rand(1, SIZE, SIZE, generator=random), 5, stride=1, padding=2)
        images.append(smooth + 0.5 * wave.cos() * region)
        regions.append(region[None])
    return {
        "image": torch.stack(images),
        "label": torch.arange(cases) % 2,
        "region": torch.stack(regions),
        "has_region": torch.ones(cases, dtype=torch.bool),
        "group": [f"p{case // 2}" for case in range(cases)],
    }


class EdgeDetector(Method):
    """Draws the image's edges and never asks the network."""

    name = "edge_detector"

    def attribute(self, probe):
        """See the class."""
        x = probe.inputs
        return (x - x.roll(1, dims=-1)).abs() + (x - x.roll(1, dims=-2)).abs()


class CentredGaussian(Method):
    """Points at the middle of every image."""

    name = "centred_gaussian"

    def attribute(self, probe):
        """See the class."""
        x = probe.inputs[:, :1]
        return Regions.of(x).gaussian.reshape(1, 1, *x.shape[2:]).expand_as(x).to(x)


class Constant(Method):
    """Says the same of every voxel."""

    name = "constant"

    def attribute(self, probe):
        """See the class."""
        return torch.ones_like(probe.inputs)


class Zero(Constant):
    """Says nothing."""

    name = "zero"

    def attribute(self, probe):
        """See the class."""
        return torch.zeros_like(probe.inputs)


class FreshNoise(Constant):
    """Another random map for every image, however little it differs."""

    name = "fresh_noise"

    def attribute(self, probe):
        """See the class."""
        return torch.stack([torch.randn(x.shape, generator=_seeded(x)) for x in probe.inputs])


def _seeded(image: torch.Tensor) -> torch.Generator:
    return torch.Generator().manual_seed(hash(tuple(image.flatten()[:16].tolist())) % 2**31)


@pytest.fixture(scope="session")
def stripes():
    return stripes_network()


@pytest.fixture(scope="session")
def stripes_cases():
    return stripes_batch(40)


@pytest.fixture(scope="session")
def bad_methods():
    return {made.name: made for made in (EdgeDetector(), CentredGaussian(), Constant(), Zero(), FreshNoise())}
