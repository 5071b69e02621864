# SPDX-License-Identifier: Apache-2.0
"""A gated network: one part says where to look, the other sees nothing else."""

from typing import Any

from torch import Tensor, nn

from fedxai.errors import BundleError
from fedxai.explain.hard_gate import HardGate

_CLOSED = -2.0  # relevance logit that opens no gate


class Gated(nn.Module):
    """``f(x) = classifier(x * g(a(x)))``: relevance a opens a hard gate g, and the classifier sees the rest black.

    No gradient passes the gate, so the relevance learns from regions alone (guidance by ``relevance``, whose layer is
    ``relevance``), and the classifier's loss cannot bend it into a code for the class. Without regions the gate stays
    open and this is the plain classifier.

    Args:
        relevance: maps images to relevance logits on their own grid, ``(B, C, *spatial)`` to ``(B, 1, *spatial)``. Its
            last layer, with weight and bias, starts at weights of about 0 and bias -2, so that the gate is open
            everywhere until regions have taught it.
        classifier: maps gated images to logits ``(B, K)``.
        gate: settings of :class:`~fedxai.explain.hard_gate.HardGate`.

    Raises:
        BundleError: when a setting of the gate breaks its rule, or the relevance has no last layer with a bias.

    Source: a hard selector before a predictor, as in Lei et al. 2016, arXiv:1606.04155, and INVASE (Yoon et al. 2019);
    here the selector is supervised.

    Example:
        >>> import torch
        >>> network = Gated(relevance=nn.Conv2d(1, 1, 1), classifier=nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
        >>> network(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 3])
    """

    def __init__(self, *, relevance: nn.Module, classifier: nn.Module, gate: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.relevance = relevance
        self.gate = HardGate(**(gate or {}))
        self.classifier = classifier
        last = [module for module in relevance.modules() if isinstance(getattr(module, "weight", None), Tensor)][-1:]
        if not last or not isinstance(getattr(last[0], "bias", None), Tensor):
            raise BundleError("the relevance of a gated network must end with a layer that has weight and bias")
        nn.init.normal_(last[0].get_parameter("weight"), std=1e-3)
        nn.init.constant_(last[0].get_parameter("bias"), _CLOSED)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        return self.classifier(image * self.gate(self.relevance(image)))
