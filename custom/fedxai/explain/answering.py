# SPDX-License-Identifier: Apache-2.0
"""Which methods can explain a network: tried once on one image, so that one that cannot does not stop the others."""

from collections.abc import Sequence

from torch import Tensor, nn

from fedxai.errors import ExplanationError
from fedxai.explain.one_batch import explain_batch


def answering(
    network: nn.Module,
    image: Tensor,
    *,
    methods: Sequence[str],
    target_layer: str | None = None,
    background: Tensor | None = None,
) -> tuple[list[str], dict[str, str]]:
    """The methods that give a map of this image, and by name the reason of each that does not.

    Args:
        network: as for :func:`~fedxai.explain.explain_batch`; left as it was.
        image: one image ``(1, C, *spatial)``, of the size of the others.
        methods: names in the registry.
        target_layer: module path of the layer that some methods read.
        background: images ``(N, C, *spatial)`` that some methods compare with.

    Raises:
        ExplanationError: when none of them can.
    """
    able, refused = [], {}
    for name in methods:
        try:
            explain_batch(network, image, methods=[name], target_layer=target_layer, background=background)
            able.append(name)
        except ExplanationError as error:
            refused[name] = str(error)
    if not able:
        raise ExplanationError(
            f"none of the asked methods can explain this network: {next(iter(refused.values()), '')}"
        )
    return able, refused
