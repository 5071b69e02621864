# SPDX-License-Identifier: Apache-2.0
"""Local evidence: a network that explains itself, because each cell sees only its own surroundings."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from fedxai.errors import BundleError

_RELU = math.sqrt(2 / (1 - 1 / math.pi))  # one over the standard deviation of a standard normal number's ReLU
_TINY = 1e-4


class LocalEvidence(nn.Module):
    """Cells of a small receptive field give class evidence, and a relevance that weighs them.

    ``f = sum_c w_c e_c``, ``w_c = sigmoid(a_c)^p / sum_d sigmoid(a_d)^p``: e_c ``(K,)`` is the evidence, a_c the
    relevance logit of cell c and p the sharpness. With p = 1 hundreds of cells of small relevance together weigh as
    much as the few of a small lesion. What lies outside a cell's receptive field cannot speak through that cell, for
    nothing is normalised over the image: its kernels are standardised instead. (Group normalisation takes its mean and
    variance from the whole image; with these held still, E of a trained network rose by a fifth.) The head also sees
    where the cell lies (its coordinates in [-1, 1] and their squared distance from the centre).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        classes: K.
        channels: of each 3-wide convolution.
        strides: of each convolution.
        hidden: channels of the head's hidden layer.
        sharpness: p, above 0.

    Shapes: ``(B, C, *spatial)`` to logits ``(B, K)``; ``relevance`` (a module of the network) puts out
    ``(B, 1, *cells)``.

    Raises:
        BundleError: when channels and strides differ in number or are empty, or the sharpness is not above 0.

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
        hidden: int = 64,
        sharpness: float = 1.0,
    ) -> None:
        super().__init__()
        if not channels or len(channels) != len(strides):
            raise BundleError(
                f"channels and strides must be as many and at least one, got {len(channels)} and {len(strides)}"
            )
        if sharpness <= 0:
            raise BundleError(f"sharpness must be above 0, got {sharpness}")
        self.sharpness = sharpness
        standardised, convolution = {2: (Standardised2d, nn.Conv2d), 3: (Standardised3d, nn.Conv3d)}[spatial_dims]
        layers: list[nn.Module] = []
        for given, made, stride in zip([in_channels, *channels], channels, strides, strict=False):
            layers += [standardised(given, made, 3, stride, 1), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Sequential(convolution(channels[-1] + spatial_dims + 1, hidden, 1), nn.ReLU())
        self.evidence = convolution(hidden, classes, 1)
        self.relevance = convolution(hidden, 1, 1)
        self._start()

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        features = self.features(image)
        seen = self.hidden(torch.cat([features, _position(features)], dim=1))
        relevance = logsigmoid(self.relevance(seen).float()).flatten(2)
        weights = (self.sharpness * relevance).softmax(dim=2)  # sigmoid(a)^p over its sum
        return (weights * self.evidence(seen).flatten(2)).sum(dim=2)

    def _start(self) -> None:
        """Weights that keep the signal's size (He et al. 2015, arXiv:1502.01852); relevance starts below one half.

        A relevance that starts at almost 0 everywhere has no gradient to learn from.
        """
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.evidence.weight, std=0.05)
        nn.init.normal_(self.relevance.weight, std=0.1)
        nn.init.constant_(self.relevance.bias, -1.0)  # pyright: ignore[reportArgumentType]


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


def _position(features: Tensor) -> Tensor:
    """Coordinates of each cell in [-1, 1], and their squared distance from the centre."""
    axes = [torch.linspace(-1, 1, size, device=features.device, dtype=features.dtype) for size in features.shape[2:]]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    position = torch.cat([grid, grid.square().sum(dim=0, keepdim=True)])
    return position.expand(len(features), *position.shape)
