# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from fedxai.errors import TrainingError
from fedxai.train.evaluation import METRICS, evaluate_logits


def groups(n):
    return [f"p{index}" for index in range(n)]


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


def test_logits_that_are_not_finite_are_refused():
    with pytest.raises(TrainingError, match="logits must be finite"):
        evaluate_logits(np.array([[np.nan, 0.0]]), np.array([0]), groups(1), split="test")
