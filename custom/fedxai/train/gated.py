# SPDX-License-Identifier: Apache-2.0
"""A gated network: one part says where to look, the other sees nothing else."""

from torch import Tensor, nn

from fedxai.explain.hard_gate import HardGate


class Gated(nn.Module):
    """``f(x) = classifier(x * g(a(x)))``: relevance a opens a hard gate g, and the classifier sees the rest black.

    No gradient passes the gate, so the relevance learns from regions alone (guidance by ``relevance``, whose layer is
    ``relevance``), and the classifier's loss cannot bend it into a code for the class. Without regions the gate stays
    open and this is the plain classifier.

    Args:
        relevance: maps images to relevance logits on their own grid, ``(B, C, *spatial)`` to ``(B, 1, *spatial)``.
        classifier: maps gated images to logits ``(B, K)``.
        start: bias that is added to the relevance, so that the gate is open until regions have taught it.
        gate: settings of :class:`~fedxai.explain.hard_gate.HardGate`.

    Raises:
        BundleError: when a setting of the gate breaks its rule.

    Source: a hard selector before a predictor, as in Lei et al. 2016, arXiv:1606.04155, and INVASE (Yoon et al. 2019);
    here the selector is supervised.

    Example:
        >>> Gated(relevance=nn.Conv2d(1, 1, 1), classifier=nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))(
        ...     torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self, *, relevance: nn.Module, classifier: nn.Module, start: float = -2.0, gate: dict[str, float] | None = None
    ) -> None:
        super().__init__()
        self.relevance = nn.Sequential(relevance, _Shifted(start))
        self.gate = HardGate(**(gate or {}))  # pyright: ignore[reportArgumentType]
        self.classifier = classifier

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        return self.classifier(image * self.gate(self.relevance(image)))


class _Shifted(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self._by = by

    def forward(self, values: Tensor) -> Tensor:
        return values + self._by
