# SPDX-License-Identifier: Apache-2.0
"""Several readers of one image: what they agree on, and how much they do; computed and kept in the site."""

import math
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedxai.label.feedback import Drawn, Feedback, Opinion
from fedxai.records import Count, Figure, Record

Rule = Literal["majority", "union", "intersection"]
Mask = NDArray[np.bool_]


class ReaderAgreement(Record):
    """How much readers agree, over all pairs of readers of one image.

    ``dice``: of what two drew, 1 where neither drew anything. ``kappa_region``: Cohen's kappa of an image's voxels,
    inside or outside. ``kappa_label``: of the classes they name, over all images. ``kappa_agreement``: of their
    four-step ratings, with quadratic weights.

    Source: Cohen 1960, doi:10.1177/001316446002000104, and 1968, doi:10.1037/h0026256.
    """

    images: Count  # with two readers or more
    readers: Count
    dice: Figure
    kappa_region: Figure
    kappa_label: Figure
    kappa_agreement: Figure


def common(masks: Sequence[Mask], rule: Rule = "majority") -> Mask:
    """Where the readers' regions lie together: ``share_i >= 1/2``, ``> 0`` or ``= 1`` of the readers drew voxel i.

    Two readers who disagree are a majority everywhere that either drew, as with ``union``: nothing that a reader
    holds for relevant is lost to a tie.
    """
    votes = np.sum(masks, axis=0)
    least = {"majority": math.ceil(len(masks) / 2), "union": 1, "intersection": len(masks)}[rule]
    return votes >= least


def drawings(feedback: Feedback, image: str, elsewhere: Mapping[str, Drawn] | None = None) -> dict[str, Drawn]:
    """By reader, what the reader drew on an image; of one who also drew elsewhere, what was drawn here."""
    here = {opinion.reader: feedback.drawing(opinion) for opinion in feedback.opinions(image)}
    return {**(elsewhere or {}), **{reader: drawn for reader, drawn in here.items() if drawn is not None}}


def label_map(drawn: Collection[Drawn], class_names: Sequence[str]) -> NDArray[np.uint8]:
    """What readers segmented together, the classes' numbers as values; where two classes meet, the one more drew.

    Names that are no class are left out.

    Args:
        drawn: one drawing a reader, at least one.
        class_names: the first is the background.
    """
    known = {name.lower(): value for value, name in enumerate(class_names) if value}
    votes = np.zeros((len(class_names), *next(iter(drawn)).labels.shape))
    for one in drawn:
        for name, mask in one.masks().items():
            if name.lower() in known:
                votes[known[name.lower()]] += mask
    least = math.ceil(len(drawn) / 2)
    return np.where(votes.max(axis=0) >= least, votes.argmax(axis=0), 0).astype(np.uint8)


def agreement(feedback: Feedback, images: Iterable[str] | None = None) -> ReaderAgreement:
    """How much the readers of a site agree.

    Args:
        feedback: what they said.
        images: which; None: all.
    """
    chosen = list(feedback.images() if images is None else images)
    dice, voxels = [], []
    labels: list[tuple[Any, Any]] = []
    ratings: list[tuple[Any, Any]] = []
    several, readers = 0, set()
    for image in chosen:
        opinions = feedback.opinions(image)
        readers |= {opinion.reader for opinion in opinions}
        several += len(opinions) > 1
        masks = [drawn.region for drawn in drawings(feedback, image).values()]
        for one, other in combinations(masks, 2):
            dice.append(_dice(one, other))
            voxels.append(_kappa(one.ravel(), other.ravel()))
        labels += _pairs(opinions, "label")
        ratings += _pairs(opinions, "agreement")
    return ReaderAgreement(
        images=several,
        readers=len(readers),
        dice=_mean(dice),
        kappa_region=_mean(voxels),
        kappa_label=Figure(value=_kappa(*_columns(labels)), n=len(labels)),
        kappa_agreement=Figure(value=_kappa(*_columns(ratings), weights="quadratic"), n=len(ratings)),
    )


def agreed_label(opinions: Sequence[Opinion]) -> str | None:
    """The class that all who named one named; None where nobody did, or they differ."""
    named = {opinion.label for opinion in opinions if opinion.label}
    return named.pop() if len(named) == 1 else None


def _pairs(opinions: Sequence[Opinion], what: str) -> list[tuple[Any, Any]]:
    said = [getattr(opinion, what) for opinion in sorted(opinions, key=lambda one: one.reader)]
    return list(combinations([value for value in said if value is not None], 2))


def _dice(one: Mask, other: Mask) -> float:
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def _columns(pairs: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [one for one, _ in pairs], [other for _, other in pairs]


def _kappa(one: Any, other: Any, *, weights: str | None = None) -> float:
    """Cohen's kappa; NaN where both always say the same one thing."""
    from sklearn.metrics import cohen_kappa_score

    if not len(one):
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one thing said by both: kappa does not exist
        return float(cohen_kappa_score(one, other, weights=weights))


def _mean(values: Sequence[float]) -> Figure:
    known = [value for value in values if math.isfinite(value)]
    return Figure(value=float(np.mean(known)) if known else None, n=len(known))
