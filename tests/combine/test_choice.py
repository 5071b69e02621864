# SPDX-License-Identifier: Apache-2.0
import pytest

from fedxai.combine.choice import both_rules

NAN = float("nan")


def by_metric(metrics, chosen):
    return both_rules(dict(enumerate(metrics, 1)), {}, chosen=chosen, key_metric="macro_auc").round_by_metric


def test_both_models_stand_with_their_metric_and_e():
    found = both_rules(
        {1: 0.7, 2: 0.9, 3: 0.8}, {1: 0.5, 2: 0.01, 3: 0.4}, chosen=3, key_metric="macro_auc", e_floor=0.2
    )
    assert (found.e_floor, found.round, found.metric, found.e) == (0.2, 3, 0.8, 0.4)
    assert (found.round_by_metric, found.metric_by_metric, found.e_by_metric) == (2, 0.9, 0.01)


def test_a_model_that_was_not_explained_has_the_last_known_e():
    found = both_rules({1: 0.7, 2: 0.9, 3: 0.8}, {1: 0.1}, chosen=3, key_metric="macro_auc")
    assert found.e == pytest.approx(0.1)
    assert both_rules({1: 0.7}, {}, chosen=1, key_metric="macro_auc").e is None


def test_of_equals_the_chosen_one_is_the_metrics_own():
    assert by_metric([0.8, 0.8, 0.7], chosen=2) == 2
    assert by_metric([0.8, 0.8, 0.7], chosen=3) == 1


def test_an_unknown_metric_is_never_the_highest():
    assert by_metric([NAN, 0.2, NAN], chosen=3) == 2
    assert by_metric([NAN, NAN], chosen=2) == 2
