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
from torch.nn.functional import interpolate

from fedxai.errors import ExplanationError
from fedxai.explain import METHODS, Explained, Method, able, explain_batch
from fedxai.records import HEADLINE_METHOD, ClassSummary, Explanation, MethodSummary, Split
from fedxai.score.costly import CostlyQuestions
from fedxai.score.model_score import MODEL_SCORES
from fedxai.score.one_map import centred, chance, score_map
from fedxai.score.places import PlaceTally, place_chance, place_shares
from fedxai.score.regions import Regions
from fedxai.score.score import SCORES
from fedxai.score.tally import Tally
from fedxai.score.trust import verdict

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
    maps: dict[str, NDArray[np.float32]]  # by method that can explain it: (1, *spatial), summed over channels
    label: int
    present: bool  # whether the case has that class: not so where a segmentation's label map lacks it
    predicted: int  # of a segmentation, the likeliest class over the region
    target: int  # the explained class
    probabilities: list[float]  # by class; of a segmentation, their mean over the region
    # by method, by score (None: undefined); without region those that need none
    scores: dict[str, dict[str, float | None]]


Sink = Callable[[ExaminedCase], object]


def examine(  # noqa: PLR0913 - the contract between rooms
    network: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    *,
    split: Split,
    methods: Sequence[str | Method],
    target_layer: str | None = None,
    target_class: Literal["predicted", "label"] = "predicted",
    sink: Sink | None = None,
    seed: int = 0,
    trust_cases: int = 0,
    honesty_cases: int = 0,
    searched: Iterable[Mapping[str, Any]] = (),
    background: Tensor | None = None,
    black: float = 0.0,
    classes: Sequence[int] = (),
) -> Explanation:
    """Where a network looks, over all cases of the batches.

    Memory holds one batch and its maps at a time, a few numbers per case, method and score, and the images of the
    cases for the trust tests and the honesty battery.

    Args:
        network: maps images to logits ``(B, K)``, or in a segmentation ``(B, K, *cells)``; left as it was.
        batches: mappings with ``image`` (B, C, *spatial), ``label`` (B,), ``region`` (B, 1, *spatial; zeros
            where there is none), ``has_region`` (B,) boolean, ``group`` (B patient names); where it is known,
            ``spacing`` (B, axes) or (axes,) in mm from voxel to voxel, else 1.
        split: which split the cases are from.
        methods: saliency methods by their names, or with settings of their own.
        target_layer: module path of the layer that Grad-CAM reads.
        target_class: explain the ``predicted`` class or the ``label``.
        sink: called once a case, in order, while its batch is in memory.
        seed: of the bootstrap intervals and of everything drawn.
        trust_cases: how many cases, drawn at random over patients, get the costly scores that decide the trust tests,
            of a segmentation so many of each class; 0: no verdict.
        honesty_cases: how many cases with a region, drawn at random over patients, the honesty battery asks about, of a
            segmentation so many of each class; 0: none.
        searched: batches, of any splits, among which shortcuts are searched: of these is said, class by class, in which
            place the relevance for a case's own class lies; a pass a case.
        background: images ``(N, C, *spatial)`` that some methods compare with.
        black: the lower end of the network's input range.
        classes: labels that are also summarised one by one: the classes of a segmentation, where a case comes once
            for each of them.

    Returns:
        Counts and means: nothing of a single case.

    Raises:
        ExplanationError: when a name is unknown, or a batch lacks a key or has a wrong shape.
    """
    _check_settings(target_class, trust_cases=trust_cases, honesty_cases=honesty_cases)
    start = time.perf_counter()
    chosen = [METHODS.make(method) if isinstance(method, str) else method for method in methods]
    ask = {"target_layer": target_layer, "background": background, "black": black}
    tallies = _tallies(chosen)
    of_class = {index: _tallies(chosen) for index in classes}
    counts = {"trust_cases": trust_cases, "honesty_cases": honesty_cases}
    costly = CostlyQuestions(network, classes=classes, seed=seed, black=black, **counts)
    places = PlaceTally()
    cases = passes = 0
    for batch in batches:
        _check(batch)
        targets = batch["label"] if target_class == "label" else None
        fitting = able(chosen, network, batch["image"].shape[2:], background)
        asked = fitting or [HEADLINE_METHOD]  # its target is needed anyway
        explained = explain_batch(network, batch["image"], targets=targets, methods=asked, **ask)
        scores = _score(batch, explained, tallies, of_class)
        costly.add(batch, explained.targets)
        if sink is not None:
            for place in range(len(batch["image"])):
                sink(_case(batch, explained, scores, place, index=cases + place))
        cases += len(batch["image"])
        passes += explained.passes + explained.forwards
    costly.ask(chosen, tallies, of_class, **ask)
    passes += sum(_add_places(places, network, batch) for batch in searched)

    def summarised(by_method: Mapping[str, Tally]) -> list[MethodSummary]:
        return [_summary(tally, trusting=trust_cases > 0, seed=seed) for tally in by_method.values()]

    return Explanation(
        split=split,
        cases=cases // max(1, len(classes)),
        methods=summarised(tallies),
        seconds=time.perf_counter() - start,
        passes=passes + costly.passes,
        honesty=costly.honesty(),
        places=places.summaries(),
        classes=[
            ClassSummary(class_index=index, methods=summarised(found), honesty=costly.honesty(index))
            for index, found in of_class.items()
        ],
    )


def _tallies(methods: Sequence[Method]) -> dict[str, Tally]:
    return {method.name: Tally(method.name) for method in methods}


def _add_places(places: PlaceTally, network: nn.Module, batch: Mapping[str, Any]) -> int:
    """Where the relevance of gradient x input for the cases' own classes lies; how many passes it took."""
    explained = explain_batch(network, batch["image"], targets=batch["label"], methods=[HEADLINE_METHOD])
    places.add(
        shares=place_shares(explained.maps[HEADLINE_METHOD], batch["region"]),
        chance=place_chance(batch["region"]),
        classes=torch.as_tensor(batch["label"]).flatten().tolist(),
        groups=list(batch["group"]),
    )
    return explained.passes


def _check_settings(target_class: str, **counts: int) -> None:
    if target_class not in _TARGETS:
        raise ExplanationError(f"target_class must be one of {', '.join(_TARGETS)}, got {target_class!r}")
    for name, value in counts.items():
        if value < 0:
            raise ExplanationError(f"{name} must be at least 0, got {value}")


def _summary(tally: Tally, *, trusting: bool, seed: int) -> MethodSummary:
    names = [*SCORES, *(MODEL_SCORES if trusting else ())]
    summary = tally.summary(names=names, seed=seed)
    return summary.model_copy(update={"trust": verdict(tally, seed=seed)}) if trusting else summary


def _check(batch: Mapping[str, Any]) -> None:
    missing = [key for key in _KEYS if key not in batch]
    if missing:
        raise ExplanationError(f"a batch must have {', '.join(_KEYS)}; it lacks {', '.join(missing)}")
    sizes = {key: len(batch[key]) for key in _KEYS}
    if len(set(sizes.values())) != 1:
        raise ExplanationError(f"everything in a batch must have one entry per case, got {sizes}")


def _score(
    batch: Mapping[str, Any],
    explained: Explained,
    tallies: Mapping[str, Tally],
    of_class: Mapping[int, Mapping[str, Tally]],
) -> dict[str, dict[str, Tensor]]:
    """Scores ``(B,)`` by method and score; each is tallied over the cases that it is made for.

    A method that cannot explain images of this size has none, and its cases are counted as not scored; only their
    levels are tallied, which are of the regions.
    """
    has_region = torch.as_tensor(batch["has_region"]).bool().flatten().cpu()
    labels = torch.as_tensor(batch["label"]).flatten().cpu()
    regions = Regions.of(batch["region"].to(explained.logits.device), batch.get("spacing"))
    levels = [{name: value.cpu() for name, value in kind.items()} for kind in (chance(regions), centred(regions))]
    scores: dict[str, dict[str, Tensor]] = {}
    for method, tally in tallies.items():
        kept = {index: tallies_of_class[method] for index, tallies_of_class in of_class.items()}
        if method in explained.maps:
            whole = score_map(explained.maps[method], regions)
            scores[method] = {name: values.cpu() for name, values in whole.items()}
        _add(tally, scores.get(method), levels, torch.ones_like(has_region), has_region, batch["group"])
        for index, of_this in kept.items():
            _add(of_this, scores.get(method), levels, labels == index, has_region, batch["group"])
    return scores


def _add(
    tally: Tally,
    scores: Mapping[str, Tensor] | None,
    levels: Sequence[Mapping[str, Tensor]],
    chosen: Tensor,
    has_region: Tensor,
    patients: Sequence[str],
) -> None:
    """Tally the chosen cases' scores (None: no map) and their chance and centred levels, where made for the case."""
    mapped = chosen & has_region if scores is not None else torch.zeros_like(chosen)
    tally.count(cases=int(chosen.sum()), with_region=int(mapped.sum()))
    for name in SCORES:
        made_for = chosen & has_region if SCORES.make(name).needs_region else chosen
        groups = [group for group, kept in zip(patients, made_for, strict=True) if kept]
        chance, centred = ({name: kind[name][made_for]} for kind in levels)
        if scores is None:
            tally.add_levels(chance=chance, centred=centred, groups=groups)
        else:
            tally.add(scores={name: scores[name][made_for]}, chance=chance, centred=centred, groups=groups)


def _case(
    batch: Mapping[str, Any],
    explained: Explained,
    scores: Mapping[str, Mapping[str, Tensor]],
    place: int,
    *,
    index: int,
) -> ExaminedCase:
    has_region = bool(batch["has_region"][place])
    probabilities = _probabilities(explained.logits[place].float().cpu(), torch.as_tensor(batch["region"][place]).cpu())
    maps = {name: explained.maps[name][place].sum(dim=0, keepdim=True) for name in scores}
    return ExaminedCase(
        index=index,
        image=_copy(batch["image"][place], torch.float32),
        region=_copy(batch["region"][place], torch.bool) if has_region else None,
        maps={name: _copy(relevance, torch.float32) for name, relevance in maps.items()},
        label=int(batch["label"][place]),
        present=has_region or explained.question.region is None,
        predicted=int(probabilities.argmax()),
        target=int(explained.targets[place]),
        probabilities=probabilities.tolist(),
        scores={
            method: {
                name: _known(values[place])
                for name, values in by_name.items()
                if has_region or not SCORES.make(name).needs_region
            }
            for method, by_name in scores.items()
        },
    )


def _probabilities(logits: Tensor, region: Tensor) -> Tensor:
    """``(K,)`` from logits ``(K,)``, or from ``(K, *cells)`` their mean over the region; over all where it is empty."""
    probabilities = logits.softmax(dim=0)
    if logits.ndim == 1:
        return probabilities
    inside = interpolate(region[None].float(), size=logits.shape[1:], mode="area")[0, 0] > 0  # cells that touch it
    return probabilities.flatten(1)[:, inside.flatten() if inside.any() else slice(None)].mean(dim=1)


def _copy(tensor: Tensor, dtype: torch.dtype) -> NDArray[Any]:
    return tensor.detach().as_subclass(Tensor).to("cpu", dtype, copy=True).numpy()


def _known(value: Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
