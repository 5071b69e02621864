# SPDX-License-Identifier: Apache-2.0
"""The chosen global model beside the one that the metric alone would have chosen."""

import math
from collections.abc import Mapping

from fedxai.records import Choice

_EQUAL = 1e-6  # metrics are rounded at the sites, to 4 decimals


def both_rules(
    metrics: Mapping[int, float], e: Mapping[int, float], *, chosen: int, key_metric: str, e_floor: float | None = None
) -> Choice:
    """The model that was chosen, and the earliest of those with the highest metric.

    Args:
        metrics: validation metric of the model after 1, 2, ... rounds; NaN where unknown.
        e: E of the models that were explained; a model that was not has the E of the last one that was.
        chosen: after so many rounds the chosen model stood; of equals it is the one that the metric chooses too.
        key_metric: the metric's name.
        e_floor: the floor on E that the choice kept to; None: no floor.
    """
    rounds = sorted(metrics)
    known: dict[int, float | None] = {}
    for round_ in rounds:
        known[round_] = e.get(round_, known.get(round_ - 1))
    highest = max(rounds, key=lambda round_: (_low(metrics[round_]), -round_))
    by_metric = chosen if _low(metrics[chosen]) >= _low(metrics[highest]) - _EQUAL else highest
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


def _low(metric: float) -> float:
    return -math.inf if math.isnan(metric) else metric
