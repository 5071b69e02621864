# SPDX-License-Identifier: Apache-2.0
"""Which global model is the best: by its metric, among those whose E has not fallen below a floor."""

import math
from collections.abc import Mapping

from fedxai.records import Choice


def choose(
    metrics: Mapping[int, float], e: Mapping[int, float], *, key_metric: str, e_floor: float | None = None
) -> Choice:
    """Both rules: the highest metric of all models, and of those whose E reaches the floor; the earliest of equals.

    Args:
        metrics: validation metric of the model after 1, 2, ... rounds; NaN where unknown.
        e: E of the models that were explained; a model that was not has the E of the last one that was.
        key_metric: the metric's name.
        e_floor: the floor; None: no floor. Where no model reaches it, the last model is chosen.

    Returns:
        The chosen model and the one that the metric alone would have chosen.
    """
    rounds = sorted(metrics)
    known: dict[int, float | None] = {}
    for round_ in rounds:
        known[round_] = e.get(round_, known.get(round_ - 1))
    candidates = [r for r in rounds if e_floor is None or known[r] is None or (known[r] or 0.0) >= e_floor]
    chosen, by_metric = (_highest(metrics, among) if among else rounds[-1] for among in (candidates, rounds))
    return Choice(
        key_metric=key_metric,
        e_floor=e_floor,
        round=chosen,
        metric=metrics[chosen],
        e=known[chosen],
        round_by_metric=by_metric,
        metric_by_metric=metrics[by_metric],
        e_by_metric=known[by_metric],
    )


def _highest(metrics: Mapping[int, float], among: list[int]) -> int:
    return max(among, key=lambda round_: (-math.inf if math.isnan(metrics[round_]) else metrics[round_], -round_))
