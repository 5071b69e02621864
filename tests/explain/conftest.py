# SPDX-License-Identifier: Apache-2.0
"""Small networks of every kind that hospitals use, and a batch for each."""

from collections.abc import Callable

import pytest
import torch
from monai.networks.nets import DenseNet, ResNet
from torch import Tensor, nn

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
POOL = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
INSTANCE = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
BATCH = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def plain(dims: int, norm: Callable[[int], nn.Module]) -> nn.Sequential:
    """The target layer "3" is followed by an in-place ReLU."""
    return nn.Sequential(
        CONV[dims](2, 6, 3, stride=2, padding=1),
        norm(6),
        nn.ReLU(),
        CONV[dims](6, 8, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        POOL[dims](1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def densenet(dims: int) -> nn.Module:
    return DenseNet(
        spatial_dims=dims,
        in_channels=2,
        out_channels=3,
        init_features=8,
        growth_rate=4,
        block_config=(2, 2),
        norm=("group", {"num_groups": 2}),
        dropout_prob=0.2,
    )


def resnet(dims: int) -> nn.Module:
    return ResNet(
        block="basic",
        layers=[1, 1, 1, 1],
        block_inplanes=[4, 4, 8, 8],
        spatial_dims=dims,
        n_input_channels=2,
        num_classes=3,
        conv1_t_size=3,
        conv1_t_stride=1,
    )


class Segmenter(nn.Module):
    """A U-Net's shape in small: logits ``(B, K, *cells)`` on half the input's grid, layer "body" read by CAMs."""

    def __init__(self, dims: int, *, classes: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(CONV[dims](2, 6, 3, stride=2, padding=1), nn.ReLU())
        self.head = CONV[dims](6, classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


# name -> (network of so many spatial dimensions, target layer)
NETWORKS: dict[str, tuple[Callable[[int], nn.Module], str]] = {
    "group norm": (lambda dims: plain(dims, lambda channels: nn.GroupNorm(2, channels)), "3"),
    "instance norm": (lambda dims: plain(dims, lambda channels: INSTANCE[dims](channels, affine=True)), "3"),
    "batch norm": (lambda dims: plain(dims, BATCH[dims]), "3"),
    "MONAI DenseNet": (densenet, "features.norm5"),  # an in-place ReLU follows
    "MONAI ResNet": (resnet, "layer4"),  # its ReLUs are used twice
}
SEGMENTERS: dict[str, tuple[Callable[[int], nn.Module], str]] = {"segmenter": (Segmenter, "body")}


class Study:
    """A network with a batch for it."""

    def __init__(self, name: str, dims: int) -> None:
        self.name = name
        build, self.layer = (NETWORKS | SEGMENTERS)[name]
        with torch.random.fork_rng():
            torch.manual_seed(len(name) + dims)
            self.network = build(dims)
            self.inputs: Tensor = torch.rand(3, 2, *{2: (33, 28), 3: (17, 14, 15)}[dims])
        self.targets = torch.tensor([2, 0, 1])
        self.dims = dims


@pytest.fixture(params=[(name, dims) for name in NETWORKS for dims in (2, 3)], ids=lambda p: f"{p[0]} {p[1]}D")
def study(request: pytest.FixtureRequest) -> Study:
    return Study(*request.param)


@pytest.fixture
def make_study() -> type[Study]:
    return Study


@pytest.fixture
def small() -> Study:
    return Study("group norm", 2)


@pytest.fixture
def small_volume() -> Study:
    return Study("group norm", 3)
