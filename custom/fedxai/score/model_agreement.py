# SPDX-License-Identifier: Apache-2.0
"""Model agreement: whether a method marks the same places in two networks, say of two rounds."""

from collections.abc import Sequence

from torch import Tensor, nn

from fedxai.explain import Method, explain_batch
from fedxai.score.similarity import rank_agreement


def model_agreement(
    networks: tuple[nn.Module, nn.Module],
    inputs: Tensor,
    *,
    targets: Tensor,
    methods: Sequence[str | Method],
    target_layer: str | None = None,
    background: Tensor | None = None,
) -> dict[str, Tensor]:
    """Rank agreement of two networks' maps, by method ``(B,)`` in [-1, 1]: 1 the same order, 0 unrelated.

    A round that changes little in the figures but much in the maps has found another reason. The level of two networks
    with nothing in common is 0, that of the same network 1; see :func:`~fedxai.score.similarity.rank_agreement`.

    Args:
        networks: both map images to logits ``(B, K)``; left as they were.
        inputs: images ``(B, C, *spatial)``.
        targets: the explained classes ``(B,)``, the same for both.
        methods: saliency methods, or their names.
        target_layer: module path of the layer that some methods read, in both networks.
        background: images that some methods compare with.

    Raises:
        ExplanationError: as :func:`~fedxai.explain.explain_batch`.
    """
    first, second = (
        explain_batch(
            network, inputs, targets=targets, methods=methods, target_layer=target_layer, background=background
        ).maps
        for network in networks
    )
    return {name: rank_agreement(first[name].sum(dim=1), second[name].sum(dim=1)) for name in first}
