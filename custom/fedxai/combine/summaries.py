# SPDX-License-Identifier: Apache-2.0
"""Sites' summary figures become the figures of all sites together: n-weighted means and summed counts."""

import math
from collections.abc import Iterable, Sequence

from fedxai.combine.figures import pooled_by_name, pooled_figure
from fedxai.combine.honesty import pooled_honesty
from fedxai.records import (
    E_SCORE,
    ClassSummary,
    Evaluation,
    Explanation,
    Figure,
    MethodSummary,
    Outgoing,
    TrustTest,
    TrustTestName,
)

GAINS = ("gain_over_random", "gain_over_mirrored")  # a faithful map must have both
_KINDS = ("scores", "chance", "centred")
_WORST = ("failed", "undecided", "passed")


def pooled_metrics(evaluations: Sequence[Evaluation]) -> dict[str, Figure]:
    """Every metric that any site reported, pooled."""
    return pooled_by_name(evaluation.metrics for evaluation in evaluations)


def pooled_confusion(evaluations: Sequence[Evaluation]) -> list[list[int | None]]:
    """Cell by cell sums; a cell that any site held back stays back (None)."""
    matrices = [evaluation.confusion for evaluation in evaluations if evaluation.confusion]
    if not matrices:
        return []
    return [
        [
            None if any(cell is None for cell in cells) else sum(cell or 0 for cell in cells)
            for cells in zip(*rows, strict=True)
        ]
        for rows in zip(*matrices, strict=True)
    ]


def pooled_methods(explanations: Sequence[Explanation | ClassSummary]) -> list[MethodSummary]:
    """One summary a method over all sites that answered with it."""
    names = list(dict.fromkeys(method.method for answer in explanations for method in answer.methods))
    return [
        _pooled_method(name, [m for answer in explanations for m in answer.methods if m.method == name])
        for name in names
    ]


def pooled_classes(explanations: Sequence[Explanation]) -> list[ClassSummary]:
    """One summary a class of a segmentation over all sites that answered with it."""
    found = [part for answer in explanations for part in answer.classes]
    return [
        _pooled_class(index, [part for part in found if part.class_index == index])
        for index in sorted({part.class_index for part in found})
    ]


def _pooled_class(index: int, parts: Sequence[ClassSummary]) -> ClassSummary:
    honesty = pooled_honesty([part.honesty for part in parts if part.honesty is not None])
    return ClassSummary(class_index=index, methods=pooled_methods(parts), honesty=honesty)


def _pooled_method(name: str, parts: Sequence[MethodSummary]) -> MethodSummary:
    scores = sorted({score for part in parts for score in part.scores})
    return MethodSummary(
        method=name,
        scored=sum(part.scored for part in parts),
        unscored=sum(part.unscored for part in parts),
        undefined={score: sum(part.undefined.get(score, 0) for part in parts) for score in scores},
        scores=pooled_by_name(part.scores for part in parts),
        chance=pooled_by_name(part.chance for part in parts),
        centred=pooled_by_name(part.centred for part in parts),
        trust=_pooled_trust(parts),
    )


def worse_of(tests: Sequence[TrustTest]) -> TrustTest:
    """The test that ended worst, where a map must pass all of them; of several alike the one with the lowest value."""
    return min(
        tests, key=lambda test: (_WORST.index(test.outcome), -math.inf if (v := test.value.value) is None else v)
    )


def _pooled_trust(parts: Sequence[MethodSummary]) -> list[TrustTest]:
    """Each test over all sites: decided anew by the pooled figure, not by counting the sites' outcomes.

    Sites tell the worse of faithfulness' two gains, which may be another at each; both are among the scores, so each is
    pooled before the worse one is taken. Of localisation they tell the worse of E less its two levels alone: where that
    fails though E of all sites is above both levels of all, sites failed by rivals of their own, and the test is
    undecided. A site with few cases is undecided, not against; a failing site weighs as much as its cases. A site that
    knows no interval, for it has too few patients, has no part where others know theirs.
    Thresholds that differ cannot be pooled: such a test is undecided, without a threshold.
    """
    pooled: list[TrustTest] = []
    names: list[TrustTestName] = list(dict.fromkeys(test.name for part in parts for test in part.trust))
    for name in names:
        told = [(part, test) for part in parts for test in part.trust if test.name == name]
        told = [(part, test) for part, test in told if test.value.low is not None] or told
        value, thresholds = pooled_figure(test.value for _, test in told), {test.threshold for _, test in told}
        (threshold,) = thresholds if len(thresholds) == 1 else (None,)
        scores = pooled_by_name(part.scores for part, _ in told)
        gains = [scores[gain] for gain in GAINS if gain in scores] if name == "faithfulness" else []
        if threshold is None:
            pooled.append(TrustTest(name=name, outcome="undecided", value=value, threshold=None))
        else:
            figures = gains if value.low is not None and len(gains) == len(GAINS) else [value]
            test = worse_of([TrustTest.decide(name, figure, threshold=threshold) for figure in figures])
            by_another_rival = name == "localisation" and test.outcome == "failed" and _above_both([p for p, _ in told])
            pooled.append(test.model_copy(update={"outcome": "undecided"}) if by_another_rival else test)
    return pooled


def _above_both(parts: Sequence[MethodSummary]) -> bool:
    """Whether E of all sites is above both of its levels."""
    e, *levels = (pooled_by_name(getattr(part, kind) for part in parts).get(E_SCORE) for kind in _KINDS)
    values = [None if figure is None else figure.value for figure in (e, *levels)]
    known = [value for value in values if value is not None]
    return len(known) == len(_KINDS) and known[0] > max(known[1:])


def pooled_outgoing(parts: Iterable[Outgoing]) -> list[Outgoing]:
    """Messages, bytes and case records that left, summed by kind."""
    totals: dict[str, Outgoing] = {}
    for part in parts:
        before = totals.get(part.kind, Outgoing(kind=part.kind, messages=0, bytes=0))
        totals[part.kind] = Outgoing(
            kind=part.kind,
            messages=before.messages + part.messages,
            bytes=before.bytes + part.bytes,
            case_records=before.case_records + part.case_records,
        )
    return [totals[kind] for kind in sorted(totals)]
