# SPDX-License-Identifier: Apache-2.0
"""How well logits diagnose: the figures of one split, with patient-level bootstrap intervals."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    roc_auc_score,
)

from fedxai.combine.intervals import group_interval
from fedxai.errors import TrainingError
from fedxai.records import Evaluation, Figure, Split

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

    def figure(metric: Callable[[NDArray, NDArray], float]) -> Figure:
        value = metric(log_probabilities, labels)
        low = high = None
        if intervals and np.isfinite(value):
            low, high = group_interval(lambda index: metric(log_probabilities[index], labels[index]), groups)
        return Figure(value=value, n=len(labels), low=low, high=high)

    matrix = confusion_matrix(labels, logits.argmax(axis=1), labels=range(classes))
    return Evaluation(
        split=split,
        cases=len(labels),
        patients=len(set(groups)),
        metrics={name: figure(_METRIC[name]) for name in METRICS},
        confusion=[[int(cell) for cell in row] for row in matrix],
    )


def _loss(log_probabilities: NDArray, labels: NDArray) -> float:
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())


def _accuracy(log_probabilities: NDArray, labels: NDArray) -> float:
    return float(accuracy_score(labels, log_probabilities.argmax(axis=1)))


def _balanced_accuracy(log_probabilities: NDArray, labels: NDArray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a resample without a class; the recall of the others stands
        return float(balanced_accuracy_score(labels, log_probabilities.argmax(axis=1)))


def _macro_f1(log_probabilities: NDArray, labels: NDArray) -> float:
    predicted = log_probabilities.argmax(axis=1)
    return float(f1_score(labels, predicted, average="macro", zero_division=0))  # pyright: ignore[reportArgumentType]


def _macro_auc(log_probabilities: NDArray, labels: NDArray) -> float:
    """Mean over classes of the one-vs-rest AUC; NaN where a class is missing or is the only one."""
    classes = log_probabilities.shape[1]
    if len(np.unique(labels)) < classes:
        return float("nan")
    probabilities = np.exp(log_probabilities)
    if classes == 2:
        return float(roc_auc_score(labels, probabilities[:, 1]))
    return float(np.mean([roc_auc_score(labels == index, probabilities[:, index]) for index in range(classes)]))


def _ece(log_probabilities: NDArray, labels: NDArray) -> float:
    """Expected calibration error of the top class: ``sum_b (n_b / n) |accuracy_b - confidence_b|``, 15 bins."""
    confidence = np.exp(log_probabilities.max(axis=1))
    correct = log_probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(labels))


_METRIC: dict[str, Callable[[NDArray, NDArray], float]] = {
    "loss": _loss,
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "macro_auc": _macro_auc,
    "ece": _ece,
}
