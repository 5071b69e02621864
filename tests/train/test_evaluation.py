# SPDX-License-Identifier: Apache-2.0
import warnings
from functools import cache

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import norm, t
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss, roc_auc_score

from fedxai.errors import TrainingError
from fedxai.train.evaluation import METRICS, evaluate_logits


def groups(n):
    return [f"p{index}" for index in range(n)]


def by_scikit_learn(probabilities, labels):
    """The same figures of some cases, each once more for every time that it was drawn."""
    found, classes = probabilities.argmax(1), range(probabilities.shape[1])
    of_class = [1] if len(classes) == 2 else classes
    all_there = len(set(labels)) == len(classes)
    confidence, bins = probabilities.max(1), np.minimum((probabilities.max(1) * 15).astype(int), 14)
    held = [bins == index for index in set(bins)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that nobody drew
        return {
            "loss": log_loss(labels, probabilities, labels=classes),
            "accuracy": accuracy_score(labels, found),
            "balanced_accuracy": balanced_accuracy_score(labels, found),
            "macro_f1": f1_score(labels, found, average="macro", zero_division=0),
            "macro_auc": np.mean([roc_auc_score(labels == c, probabilities[:, c]) for c in of_class])
            if all_there
            else np.nan,
            "ece": sum(abs((found[b] == labels[b]).mean() - confidence[b].mean()) * b.mean() for b in held),
        }


@pytest.mark.parametrize("classes", [2, 3])
def test_figures_and_intervals_are_those_of_scikit_learn_on_every_resample(classes):
    """With few patients, so that some resamples lack a class, and few steps of probability, so that many are equal."""
    random = np.random.default_rng(classes)
    labels = random.permutation([*range(classes), *random.integers(0, classes, 21)])
    logits = random.integers(0, 3, (len(labels), classes)) + np.eye(classes)[labels]
    patients = random.integers(0, 6, len(labels))
    patients[:6] = range(6)
    found = evaluate_logits(logits, labels, [f"p{patient}" for patient in patients], split="test")
    probabilities = softmax(logits, axis=1)
    first_seen = list(dict.fromkeys(patients))

    @cache
    def of_drawn(*numbers):
        cases = np.concatenate([np.flatnonzero(patients == first_seen[number]) for number in numbers])
        return by_scikit_learn(probabilities[cases], labels[cases])

    generator = np.random.default_rng(0)
    draws = [of_drawn(*sorted(generator.integers(0, 6, 6))) for _ in range(1000)]
    below = norm.cdf(t.ppf(0.025, 5) * np.sqrt(6 / 5))  # expanded for 6 patients
    for name, value in by_scikit_learn(probabilities, labels).items():
        low, high = np.nanquantile([draw[name] for draw in draws], [below, 1 - below])
        figure = found.metrics[name]
        assert (figure.value, figure.low, figure.high) == pytest.approx((value, low, high), abs=1e-4), name


def test_a_perfect_model_has_perfect_figures():
    labels = np.array([0, 1, 2, 0, 1, 2])
    found = evaluate_logits(np.eye(3)[labels] * 50, labels, groups(6), split="test")
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc"):
        assert found.metrics[name].value == 1.0
    assert found.metrics["ece"].value == 0.0
    assert found.confusion == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]


def test_hand_made_figures():
    logits = np.log(np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]]))
    found = evaluate_logits(logits, np.array([0, 0, 1, 1]), groups(4), split="test", intervals=False)
    assert found.metrics["accuracy"].value == 0.5
    assert found.metrics["macro_auc"].value == 0.75  # of the 4 pairs, (0.6, 0.3) is in the wrong order
    assert found.metrics["loss"].value == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.3]).mean(), abs=1e-4)
    assert found.metrics["ece"].value == pytest.approx((0.1 + 0.6 + 0.2 + 0.7) / 4, abs=1e-4)


def test_auc_without_one_of_the_classes_is_undefined_not_guessed():
    found = evaluate_logits(np.zeros((4, 3)), np.array([0, 0, 1, 1]), groups(4), split="validation")
    assert found.metrics["macro_auc"].value is None
    assert found.metrics["accuracy"].value == 0.5


def test_a_model_that_knows_nothing_is_at_chance():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 300)
    found = evaluate_logits(random.normal(size=(300, 3)), labels, groups(300), split="test")
    low, high = found.metrics["macro_auc"].low, found.metrics["macro_auc"].high
    assert low < 0.5 < high


def test_intervals_resample_patients_so_copies_of_a_case_do_not_narrow_them():
    random = np.random.default_rng(1)
    logits, labels = random.normal(size=(40, 2)), random.integers(0, 2, 40)
    once = evaluate_logits(logits, labels, groups(40), split="test").metrics["accuracy"]
    copies = evaluate_logits(np.repeat(logits, 9, 0), np.repeat(labels, 9), np.repeat(groups(40), 9), split="test")
    width = copies.metrics["accuracy"].high - copies.metrics["accuracy"].low
    assert width == pytest.approx(once.high - once.low, rel=0.2)


def test_every_metric_is_reported_with_its_n():
    found = evaluate_logits(np.eye(2), np.array([0, 1]), groups(2), split="test")
    assert set(found.metrics) == set(METRICS)
    assert all(figure.n == 2 for figure in found.metrics.values())


def test_a_case_without_a_name_is_a_patient_of_its_own():
    found = evaluate_logits(np.eye(2)[[0, 1, 0, 1]], np.array([0, 1, 0, 1]), ["", "a", "", "a"], split="test")
    assert found.patients == 3


def test_logits_that_are_not_finite_are_refused():
    with pytest.raises(TrainingError, match="logits must be finite"):
        evaluate_logits(np.array([[np.nan, 0.0]]), np.array([0]), groups(1), split="test")
