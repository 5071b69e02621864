# SPDX-License-Identifier: Apache-2.0
"""Local evidence: a network that explains itself, because each cell sees only its own surroundings."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from fedxai.errors import BundleError
from fedxai.explain.grid import on_grid

_RELU = math.sqrt(2 / (1 - 1 / math.pi))  # one over the standard deviation of a standard normal number's ReLU
_TINY = 1e-4


class LocalEvidence(nn.Module):
    """Cells of a small receptive field give class evidence, and a relevance that weighs them.

    ``f = sum_c w_c e_c``, ``w_c = sigmoid(a_c)^p / sum_d sigmoid(a_d)^p``: e_c ``(K,)`` is the evidence, a_c the
    relevance logit of cell c and p the sharpness. With p = 1 hundreds of cells of small relevance together weigh as
    much as the few of a small lesion. What lies outside a cell's receptive field has no say in its evidence, for
    nothing is normalised over the image: its kernels are standardised instead. (Group normalisation takes its mean and
    variance from the whole image; with these held still, E of a trained network rose by a fifth.) The heads also see
    where the cell lies (its coordinates in [-1, 1] and their squared distance from the centre).

    Where a lesion begins and ends is a question to its surroundings: with ``context`` the relevance, and only the
    relevance, also hears a wider surrounding. What a cell says of the class stays its own.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        classes: K.
        channels: of each 3-wide convolution; the heads' hidden layers have as many as the last.
        strides: of each convolution.
        sharpness: p, above 0.
        context: channels of each level of the U-shaped path that widens what the relevance sees, every level at half
            the grid of the one before; none: the relevance sees what the evidence sees.

    Shapes: ``(B, C, *spatial)`` to logits ``(B, K)``; ``relevance`` (a module of the network) puts out
    ``(B, 1, *cells)``.

    Raises:
        BundleError: when channels and strides differ in number or are empty, or one of their numbers, of the
            context's or the sharpness is not above 0.

    Source: a relative of BagNet (Brendel and Bethge 2019, arXiv:1904.00760) and of attention-based multiple
    instance learning (Ilse et al. 2018, arXiv:1802.04712), with the relevance open to supervision; kernels as in
    Brock et al. 2021, arXiv:2101.08692.

    Example:
        >>> LocalEvidence(spatial_dims=2, in_channels=1, classes=3, channels=[8], strides=[2])(
        ...     torch.rand(2, 1, 32, 32)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        *,
        spatial_dims: int,
        in_channels: int,
        classes: int,
        channels: Sequence[int],
        strides: Sequence[int],
        sharpness: float = 1.0,
        context: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if not channels or len(channels) != len(strides):
            raise BundleError(
                f"channels and strides must be as many and at least one, got {len(channels)} and {len(strides)}"
            )
        for name, sizes in (("channels", channels), ("strides", strides), ("context", context)):
            if min(sizes, default=1) < 1:
                raise BundleError(f"{name} must be numbers above 0, got {list(sizes)}")
        if sharpness <= 0:
            raise BundleError(f"sharpness must be above 0, got {sharpness}")
        self.sharpness = sharpness
        standardised, convolution = {2: (Standardised2d, nn.Conv2d), 3: (Standardised3d, nn.Conv3d)}[spatial_dims]
        layers: list[nn.Module] = []
        for given, made, stride in zip([in_channels, *channels], channels, strides, strict=False):
            layers += _layer(standardised, given, made, stride)
        self.features = nn.Sequential(*layers)
        self.context = Context(standardised, channels[-1], context) if context else None

        def head(given: int, made: int) -> nn.Sequential:
            placed = given + spatial_dims + 1
            return nn.Sequential(convolution(placed, channels[-1], 1), nn.ReLU(), convolution(channels[-1], made, 1))

        self.evidence = head(channels[-1], classes)
        self.relevance = head(channels[-1] + (context[0] if context else 0), 1)
        self._start()

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        features = self.features(image)
        cells = torch.cat([features, _position(features)], dim=1)
        wider = cells if self.context is None else torch.cat([cells, self.context(features)], dim=1)
        relevance = logsigmoid(self.relevance(wider).float()).flatten(2)
        weights = (self.sharpness * relevance).softmax(dim=2)  # sigmoid(a)^p over its sum
        return (weights * self.evidence(cells).flatten(2)).sum(dim=2)

    def _start(self) -> None:
        """Weights that keep the signal's size (He et al. 2015, arXiv:1502.01852); relevance starts below one half.

        A relevance that starts at almost 0 everywhere has no gradient to learn from.
        """
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for head, spread, level in ((self.evidence, 0.05, 0.0), (self.relevance, 0.1, -1.0)):
            nn.init.normal_(head[-1].get_parameter("weight"), std=spread)
            nn.init.constant_(head[-1].get_parameter("bias"), level)


class _Standardised(nn.modules.conv._ConvNd):
    """A convolution whose kernels have mean 0 and keep the size of a signal that went through a ReLU, and a gain."""

    def reset_parameters(self) -> None:
        """Draw the weights anew; every gain is 1."""
        super().reset_parameters()
        self.gain = nn.Parameter(self.weight.new_ones(len(self.weight), *[1] * (self.weight.ndim - 1)))

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve with ``gain * sqrt(2 / (1 - 1 / pi)) * (w - mean) / (std * sqrt(n))``, n the numbers of a kernel."""
        variance, mean = torch.var_mean(weight, dim=tuple(range(1, weight.ndim)), keepdim=True, correction=0)
        scale = _RELU * torch.rsqrt(variance * weight[0].numel() + _TINY)
        return super()._conv_forward(input, self.gain * scale * (weight - mean), bias)  # pyright: ignore


class Standardised2d(_Standardised, nn.Conv2d):
    """See :class:`_Standardised`."""


class Standardised3d(_Standardised, nn.Conv3d):
    """See :class:`_Standardised`."""


class Context(nn.Module):
    """What a wider surrounding says to each cell: down a level at a time, and up again past each level.

    Args:
        convolution: a class of convolutions.
        given: channels of the cells.
        channels: of each level; a level has half the grid of the one before.

    Shapes: ``(B, given, *cells)`` to ``(B, channels[0], *cells)``.

    Source: Ronneberger et al. 2015, arXiv:1505.04597, here without normalisation, on cells instead of pixels.
    """

    def __init__(self, convolution: type[nn.Conv2d | nn.Conv3d], given: int, channels: Sequence[int]) -> None:
        super().__init__()
        levels = list(zip([given, *channels], channels, strict=False))
        self.down = nn.ModuleList(
            nn.Sequential(*_layer(convolution, above, made, 2), *_layer(convolution, made, made))
            for above, made in levels
        )
        self.up = nn.ModuleList(nn.Sequential(*_layer(convolution, above + made, above)) for above, made in levels[1:])

    def forward(self, cells: Tensor) -> Tensor:
        """See the class."""
        levels = [cells]
        for down in self.down:
            levels.append(down(levels[-1]))
        wide = levels.pop()
        for up in reversed(self.up):
            level = levels.pop()
            wide = up(torch.cat([level, on_grid(wide, level.shape[2:])], dim=1))
        return on_grid(wide, cells.shape[2:])


def _layer(convolution: type[nn.Conv2d | nn.Conv3d], given: int, made: int, stride: int = 1) -> list[nn.Module]:
    return [convolution(given, made, 3, stride, 1), nn.ReLU()]


def _position(features: Tensor) -> Tensor:
    """Coordinates of each cell in [-1, 1], and their squared distance from the centre."""
    axes = [torch.linspace(-1, 1, size, device=features.device, dtype=features.dtype) for size in features.shape[2:]]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    position = torch.cat([grid, grid.square().sum(dim=0, keepdim=True)])
    return position.expand(len(features), *position.shape)
