# SPDX-License-Identifier: Apache-2.0
"""Which methods can explain a network: tried once on an image, so that one that cannot does not stop the others."""

from collections.abc import Iterable, Sequence
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from fedxai.errors import ExplanationError
from fedxai.explain.one_batch import explain_batch
from fedxai.explain.windowed import Windowed, unwindowed

# what a network can be asked follows from its layers, so new weights in it, round after round, need no new trial
_tried: "WeakKeyDictionary[nn.Module, set[object]]" = WeakKeyDictionary()


def answering(
    network: nn.Module,
    images: Iterable[Tensor],
    *,
    methods: Sequence[str],
    target_layer: str | None = None,
    background: Tensor | None = None,
) -> tuple[list[str], dict[str, str]]:
    """The methods that give a map of one of these images, and by name the reason of each that gives none.

    All are tried in one go, with the passes that they share, and one by one only where that fails. What the first
    image refuses, because it is larger than a window or than the background, may fit one of another size: images are
    taken until nothing is refused. A network that answered all for the first is not tried again for the same methods,
    layer, size of image and of background.

    Args:
        network: as for :func:`~fedxai.explain.explain_batch`; left as it was.
        images: some images ``(1, C, *spatial)``; one of each size is tried.
        methods: names in the registry.
        target_layer: module path of the layer that some methods read.
        background: images ``(N, C, *spatial)`` that some methods compare with.

    Raises:
        ExplanationError: when none of them can.
    """
    known = _tried.setdefault(unwindowed(network), set())
    compared = None if background is None else background.shape[1:]
    ask = {"target_layer": target_layer, "background": background}
    able: list[str] = []
    refused = dict.fromkeys(methods, "there is no image to try it on")
    sizes: set[object] = set()
    for image in images:
        if image.shape in sizes:
            continue
        window = network.window(image.shape[2:]) if isinstance(network, Windowed) else None
        key = (window, tuple(methods), target_layer, image.shape, compared)
        if not sizes and key in known:
            return list(methods), {}
        sizes.add(image.shape)
        more, refused = _try(network, image, list(refused), **ask)
        able += more
        if not refused:
            if len(sizes) == 1:  # what is refused may have failed for the moment only, as where memory was short
                known.add(key)
            break
    if not able:
        raise ExplanationError(
            f"none of the asked methods can explain this network: {next(iter(refused.values()), '')}"
        )
    return [name for name in methods if name in able], refused


def _try(
    network: nn.Module,
    image: Tensor,
    methods: Sequence[str],
    *,
    target_layer: str | None,
    background: Tensor | None,
) -> tuple[list[str], dict[str, str]]:
    ask = {"target_layer": target_layer, "background": background}
    try:
        explain_batch(network, image, methods=methods, **ask)
        return list(methods), {}
    except ExplanationError:  # one of them at least; which, the next turn tells
        able, refused = [], {}
    for name in methods:
        try:
            explain_batch(network, image, methods=[name], **ask)
            able.append(name)
        except ExplanationError as error:
            refused[name] = str(error)
    return able, refused
