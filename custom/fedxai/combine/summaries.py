# SPDX-License-Identifier: Apache-2.0
"""Sites' summary figures become the figures of all sites together: n-weighted means and summed counts."""

import math
from collections.abc import Iterable, Sequence

from fedxai.records import (
    ClassSummary,
    Evaluation,
    Explanation,
    Figure,
    MethodSummary,
    Outgoing,
    TrustTest,
    TrustTestName,
)


def pooled_figure(figures: Iterable[Figure]) -> Figure:
    """The n-weighted mean of the sites' figures, with an interval from the sites' own.

    ``value = sum_k n_k v_k / n``; the sites are independent, so half-widths add in quadrature:
    ``h = sqrt(sum_k (n_k h_k / n)^2)`` on either side. Figures without a value are left out.
    """
    known = [figure for figure in figures if figure.value is not None and figure.n > 0]
    n = sum(figure.n for figure in known)
    if not n:
        return Figure(value=None, n=0)
    value = math.fsum(figure.n * figure.value for figure in known if figure.value is not None) / n
    if any(figure.low is None or figure.high is None for figure in known):
        return Figure(value=value, n=n)
    low, high = (
        math.sqrt(math.fsum((figure.n * ((bound or 0.0) - (figure.value or 0.0)) / n) ** 2 for figure, bound in pairs))
        for pairs in ([(f, f.low) for f in known], [(f, f.high) for f in known])
    )
    return Figure(value=value, n=n, low=value - low, high=value + high)


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
    parts = [part for answer in explanations for part in answer.classes]
    return [
        ClassSummary(class_index=index, methods=pooled_methods([p for p in parts if p.class_index == index]))
        for index in sorted({part.class_index for part in parts})
    ]


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
        trust=_pooled_trust([test for part in parts for test in part.trust]),
    )


def pooled_by_name(parts: Iterable[dict[str, Figure]]) -> dict[str, Figure]:
    """Every figure that any part has, pooled over those that have it, in the order of the names."""
    figures = list(parts)
    names = sorted({name for part in figures for name in part})
    return {name: pooled_figure(part[name] for part in figures if name in part) for name in names}


def _pooled_trust(tests: Sequence[TrustTest]) -> list[TrustTest]:
    """Each test over all sites: decided anew by the pooled figure, not by counting the sites' outcomes.

    A site with few cases is undecided, not against; a failing site weighs as much as its cases. Thresholds that
    differ cannot be pooled: such a test is undecided, without a threshold.
    """
    pooled: list[TrustTest] = []
    names: list[TrustTestName] = list(dict.fromkeys(test.name for test in tests))
    for name in names:
        parts = [test for test in tests if test.name == name]
        value, thresholds = pooled_figure(part.value for part in parts), {part.threshold for part in parts}
        (threshold,) = thresholds if len(thresholds) == 1 else (None,)
        if threshold is None:
            pooled.append(TrustTest(name=name, outcome="undecided", value=value, threshold=None))
        else:
            pooled.append(TrustTest.decide(name, value, threshold=threshold))
    return pooled


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
