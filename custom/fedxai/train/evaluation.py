# SPDX-License-Identifier: Apache-2.0
"""How well logits diagnose: the figures of one split, with patient-level bootstrap intervals."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.metrics import confusion_matrix

from fedxai.combine.intervals import Statistic, figure_of, mean_of, patient_count
from fedxai.errors import TrainingError
from fedxai.records import Evaluation, Split

METRICS = ("loss", "accuracy", "balanced_accuracy", "macro_f1", "macro_auc", "ece")
_BINS = 15


def evaluate_logits(
    logits: NDArray,
    labels: NDArray,
    groups: Sequence[str],
    *,
    split: Split,
    intervals: bool = True,
) -> Evaluation:
    """Cross entropy, accuracy, balanced accuracy, macro F1, macro AUC (one-vs-rest) and calibration error.

    Args:
        logits: ``(N, K)``, one row a case.
        labels: ``(N,)``, class indices.
        groups: N patients; intervals resample patients, not images.
        split: which split the cases are from.
        intervals: whether to compute 95 % intervals (1,000 resamples).

    Returns:
        The figures; those that do not exist (macro AUC with a class missing) have no value.

    Raises:
        TrainingError: when a logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise TrainingError("the logits must be finite, got NaN or infinity; the weights are spoilt")
    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    classes = logits.shape[1]
    matrix = confusion_matrix(labels, logits.argmax(axis=1), labels=range(classes))
    return Evaluation(
        split=split,
        cases=len(labels),
        patients=patient_count(groups),
        metrics={
            name: figure_of(_METRIC[name](log_probabilities, labels), groups, intervals=intervals) for name in METRICS
        },
        confusion=[[int(cell) for cell in row] for row in matrix],
    )


def _loss(log_probabilities: NDArray, labels: NDArray) -> Statistic:
    return mean_of(-log_probabilities[np.arange(len(labels)), labels])


def _accuracy(log_probabilities: NDArray, labels: NDArray) -> Statistic:
    return mean_of(log_probabilities.argmax(axis=1) == labels)


def _balanced_accuracy(log_probabilities: NDArray, labels: NDArray) -> Statistic:
    """Mean recall of the classes that a resample holds."""
    truth, found = _one_hot(log_probabilities, labels)
    return lambda weights: _mean_ratio(weights @ (truth * found), weights @ truth)


def _macro_f1(log_probabilities: NDArray, labels: NDArray) -> Statistic:
    """Mean over the classes that are there or were found of ``2 TP / (2 TP + FP + FN)``."""
    truth, found = _one_hot(log_probabilities, labels)
    return lambda weights: _mean_ratio(2 * weights @ (truth * found), weights @ (truth + found))


def _macro_auc(log_probabilities: NDArray, labels: NDArray) -> Statistic:
    """Mean over classes of the one-vs-rest AUC; NaN where a class is missing or is the only one."""
    probabilities = np.exp(log_probabilities)
    classes = range(probabilities.shape[1]) if probabilities.shape[1] > 2 else [1]
    of_class = [_auc(probabilities[:, index], labels == index) for index in classes]
    return lambda weights: np.mean([auc(weights) for auc in of_class], axis=0)


def _auc(scores: NDArray, positive: NDArray) -> Statistic:
    """Share of the pairs of a positive and a negative case that are in the right order; a tie is half a pair."""
    order = np.argsort(scores, kind="stable")
    positive = positive[order]
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # of every run of equal scores

    def auc(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        weights = weights[:, order]
        positives = np.add.reduceat(weights * positive, starts, axis=1)
        negatives = np.add.reduceat(weights * ~positive, starts, axis=1)
        below = negatives.cumsum(axis=1) - negatives / 2
        with np.errstate(invalid="ignore"):
            return (positives * below).sum(axis=1) / (positives.sum(axis=1) * negatives.sum(axis=1))

    return auc


def _ece(log_probabilities: NDArray, labels: NDArray) -> Statistic:
    """Expected calibration error of the top class: ``sum_b (n_b / n) |accuracy_b - confidence_b|``, 15 bins."""
    confidence = np.exp(log_probabilities.max(axis=1))
    correct = log_probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = (correct - confidence)[:, None] * (bins[:, None] == np.arange(_BINS))
    return lambda weights: np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)


def _one_hot(log_probabilities: NDArray, labels: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``(N, K)`` of the classes that are there, and of those that were found."""
    classes = np.arange(log_probabilities.shape[1])
    return (labels[:, None] == classes) * 1.0, (log_probabilities.argmax(axis=1)[:, None] == classes) * 1.0


def _mean_ratio(parts: NDArray[np.float64], wholes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the classes (the columns) whose whole is not 0."""
    with np.errstate(invalid="ignore"):
        return np.nanmean(parts / wholes, axis=1)


_METRIC: dict[str, Callable[[NDArray, NDArray], Statistic]] = {
    "loss": _loss,
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "macro_auc": _macro_auc,
    "ece": _ece,
}
