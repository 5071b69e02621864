# SPDX-License-Identifier: Apache-2.0
"""Explain and score a site's cases batch by batch; maps go no further than a sink in the site."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedxai.errors import ExplanationError
from fedxai.explain import Explained, explain_batch
from fedxai.records import Explanation, Split
from fedxai.score.one_map import centred, chance, score_map
from fedxai.score.regions import Regions
from fedxai.score.score import SCORES
from fedxai.score.tally import Tally

_KEYS = ("image", "label", "region", "has_region", "group")
_TARGETS = ("predicted", "label")


@dataclass(frozen=True, kw_only=True)
class ExaminedCase:
    """One case with everything that is known of it: for the site's own gallery, never to leave the site.

    Its arrays are copies, so that whoever keeps a case keeps nothing else of its batch.
    """

    index: int  # in the order of the batches, from 0
    image: NDArray[np.float32]  # (C, *spatial), as the network saw it
    region: NDArray[np.bool_] | None  # (1, *spatial)
    maps: dict[str, NDArray[np.float32]]  # by method: (1, *spatial), summed over channels
    label: int
    predicted: int
    target: int  # the explained class
    probabilities: list[float]  # by class
    scores: dict[str, dict[str, float | None]]  # by method, by score (None: undefined); none without region


Sink = Callable[[ExaminedCase], object]


def examine(  # noqa: PLR0913 - the contract between rooms
    network: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    *,
    split: Split,
    methods: Sequence[str],
    target_layer: str | None = None,
    target_class: Literal["predicted", "label"] = "predicted",
    sink: Sink | None = None,
    seed: int = 0,
) -> Explanation:
    """Where a network looks, over all cases of the batches.

    Memory holds one batch and its maps at a time, and one number per case, method and score.

    Args:
        network: maps images to logits ``(B, K)``; left as it was.
        batches: mappings with ``image`` (B, C, *spatial), ``label`` (B,), ``region`` (B, 1, *spatial; zeros
            where there is none), ``has_region`` (B,) boolean, ``group`` (B patient names); where it is known,
            ``spacing`` (B, axes) or (axes,) in mm from voxel to voxel, else 1.
        split: which split the cases are from.
        methods: saliency methods by their names.
        target_layer: module path of the layer that Grad-CAM reads.
        target_class: explain the ``predicted`` class or the ``label``.
        sink: called once a case, in order, while its batch is in memory.
        seed: of the bootstrap intervals.

    Returns:
        Counts and means: nothing of a single case.

    Raises:
        ExplanationError: when a name is unknown, or a batch lacks a key or has a wrong shape.
    """
    if target_class not in _TARGETS:
        raise ExplanationError(f"target_class must be one of {', '.join(_TARGETS)}, got {target_class!r}")
    start = time.perf_counter()
    tallies = {name: Tally(name) for name in methods}
    cases = passes = 0
    for batch in batches:
        _check(batch)
        explained = explain_batch(
            network,
            batch["image"],
            targets=batch["label"] if target_class == "label" else None,
            methods=methods,
            target_layer=target_layer,
        )
        scores = _score(batch, explained, tallies)
        if sink is not None:
            for place in range(len(batch["image"])):
                sink(_case(batch, explained, scores, place, index=cases + place))
        cases += len(batch["image"])
        passes += explained.passes
    return Explanation(
        split=split,
        cases=cases,
        methods=[tally.summary(names=list(SCORES), seed=seed) for tally in tallies.values()],
        seconds=time.perf_counter() - start,
        passes=passes,
    )


def _check(batch: Mapping[str, Any]) -> None:
    missing = [key for key in _KEYS if key not in batch]
    if missing:
        raise ExplanationError(f"a batch must have {', '.join(_KEYS)}; it lacks {', '.join(missing)}")
    sizes = {key: len(batch[key]) for key in _KEYS}
    if len(set(sizes.values())) != 1:
        raise ExplanationError(f"everything in a batch must have one entry per case, got {sizes}")


def _score(
    batch: Mapping[str, Any], explained: Explained, tallies: Mapping[str, Tally]
) -> dict[str, dict[str, Tensor]]:
    """Scores ``(B,)`` by method and score; each is tallied over the cases that it is made for."""
    has_region = torch.as_tensor(batch["has_region"]).bool().flatten().cpu()
    regions = Regions.of(batch["region"].to(explained.logits.device), batch.get("spacing"))
    levels = chance(regions), centred(regions)
    scores = {}
    for method, tally in tallies.items():
        whole = score_map(explained.maps[method], regions)
        scores[method] = {name: values.cpu() for name, values in whole.items()}
        tally.count(cases=len(has_region), with_region=int(has_region.sum()))
        for name in SCORES:
            made_for = has_region if SCORES.make(name).needs_region else torch.ones_like(has_region)
            parts = ({name: kind[name].cpu()[made_for]} for kind in (scores[method], *levels))
            groups = [group for group, kept in zip(batch["group"], made_for, strict=True) if kept]
            tally.add(**dict(zip(("scores", "chance", "centred"), parts, strict=True)), groups=groups)
    return scores


def _case(
    batch: Mapping[str, Any],
    explained: Explained,
    scores: Mapping[str, Mapping[str, Tensor]],
    place: int,
    *,
    index: int,
) -> ExaminedCase:
    has_region = bool(batch["has_region"][place])
    logits = explained.logits[place].float()
    maps = {name: whole[place].sum(dim=0, keepdim=True) for name, whole in explained.maps.items()}
    return ExaminedCase(
        index=index,
        image=_copy(batch["image"][place], torch.float32),
        region=_copy(batch["region"][place], torch.bool) if has_region else None,
        maps={name: _copy(relevance, torch.float32) for name, relevance in maps.items()},
        label=int(batch["label"][place]),
        predicted=int(logits.argmax()),
        target=int(explained.targets[place]),
        probabilities=logits.softmax(dim=0).tolist(),
        scores={
            method: {name: _known(values[place]) for name, values in by_name.items()} if has_region else {}
            for method, by_name in scores.items()
        },
    )


def _copy(tensor: Tensor, dtype: torch.dtype) -> NDArray[Any]:
    return tensor.detach().as_subclass(Tensor).to("cpu", dtype, copy=True).numpy()


def _known(value: Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
