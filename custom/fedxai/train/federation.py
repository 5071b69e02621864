# SPDX-License-Identifier: Apache-2.0
"""The plain loop of Algorithm FedAvg: what a federated run, a centralised and a local-only training have in common."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from numpy.typing import NDArray

from fedxai.combine.weights import fedavg, global_mean
from fedxai.errors import TrainingError
from fedxai.train.engine import SiteTrainer, Weights


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The last and the best global model of a training, and what it took."""

    last: Weights
    best: Weights
    best_round: int
    metrics: dict[int, float]  # validation metric of the model after so many rounds, where it was validated
    losses: dict[int, float]  # global validation loss (Eq. 3), likewise
    steps: int
    update_bytes: int
    seconds: float


def train_rounds(
    trainers: Mapping[str, SiteTrainer],
    *,
    rounds: int,
    key_metric: str = "macro_auc",
    on_round: Callable[[int], None] = lambda _: None,
) -> TrainingResult:
    """FedAvg (Eq. 1 to 3) in one process: all sites train from the global weights, then n_k-weighted averaging.

    With the trainers of all sites this is plain federated learning; with one trainer over pooled cases it is
    centralised training, with one site's trainer local-only training: an average of one is that one. The best model
    is the one with the highest n_k-weighted validation metric among those after rounds 1 to ``rounds`` that are
    validated: every ``validate_every``-th and the last.

    Args:
        trainers: by site; they share the bundle, the seed and ``validate_every``.
        rounds: federated rounds, at least 1.
        key_metric: validation metric that chooses the best model.
        on_round: called with the number of rounds done.

    Returns:
        The models and the counts.

    Raises:
        TrainingError: when no site's validation split gives ``key_metric``.
    """
    start = time.perf_counter()
    cases = {site: trainer.training_cases for site, trainer in trainers.items()}
    first = next(iter(trainers.values()))
    weights, every = first.weights(), first.settings.validate_every
    best, best_round, steps, sent = weights, 0, 0, 0
    metrics: dict[int, float] = {}
    losses: dict[int, float] = {}
    for round_ in range(rounds + 1):
        if round_ % every == 0 or round_ == rounds:
            metrics[round_], losses[round_] = _validate(trainers, weights, cases, key_metric)
            if math.isnan(metrics[round_]):
                raise TrainingError(
                    f"no site's validation split gives {key_metric}, which needs every class there; choose another "
                    "key_metric, for instance accuracy"
                )
            if round_ > 0 and (best_round == 0 or metrics[round_] > metrics[best_round]):
                best, best_round = weights, round_
        on_round(round_)
        if round_ == rounds:
            break
        updates = {}
        for site, trainer in trainers.items():
            update = trainer.train(weights, round_=round_, rounds=rounds)
            updates[site] = update.difference
            steps += update.steps
            sent += sum(tensor.nbytes for tensor in update.difference.values())
        mean = fedavg(updates, cases)
        weights = {**weights, **{name: weights[name] + mean[name] for name in mean}}
    return TrainingResult(
        last=weights,
        best=best,
        best_round=best_round,
        metrics=metrics,
        losses=losses,
        steps=steps,
        update_bytes=sent,
        seconds=time.perf_counter() - start,
    )


def _validate(
    trainers: Mapping[str, SiteTrainer],
    weights: Mapping[str, NDArray],
    cases: Mapping[str, int],
    key_metric: str,
) -> tuple[float, float]:
    figures = {site: t.evaluate("validation", weights, intervals=False).metrics for site, t in trainers.items()}
    means = []
    for name in (key_metric, "loss"):
        values = {site: metrics[name].value for site, metrics in figures.items()}
        means.append(global_mean({site: v for site, v in values.items() if v is not None}, cases))
    return means[0], means[1]
