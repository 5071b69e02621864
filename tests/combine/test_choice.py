# SPDX-License-Identifier: Apache-2.0
import pytest

from fedxai.combine.choice import choose

NAN = float("nan")


def chosen(metrics, e, floor=None):
    found = choose(dict(enumerate(metrics, 1)), e, key_metric="macro_auc", e_floor=floor)
    return found.round, found.round_by_metric


def test_without_a_floor_the_metric_alone_decides():
    assert chosen([0.7, 0.9, 0.8], {1: 0.5, 2: 0.01, 3: 0.5}) == (2, 2)


def test_a_model_whose_e_has_fallen_is_passed_over():
    found = choose({1: 0.7, 2: 0.9, 3: 0.8}, {1: 0.5, 2: 0.01, 3: 0.4}, key_metric="macro_auc", e_floor=0.2)
    assert (found.round, found.metric, found.e) == (3, 0.8, 0.4)
    assert (found.round_by_metric, found.metric_by_metric, found.e_by_metric) == (2, 0.9, 0.01)


def test_a_model_that_was_not_explained_has_the_last_known_e():
    assert chosen([0.7, 0.9, 0.8], {1: 0.1}, floor=0.2) == (3, 2)
    assert chosen([0.7, 0.9, 0.8], {1: 0.3}, floor=0.2) == (2, 2)


def test_before_anything_is_known_nothing_is_below_the_floor():
    assert chosen([0.9, 0.8], {2: 0.1}, floor=0.2) == (1, 1)


def test_where_none_reaches_the_floor_the_last_is_taken():
    assert chosen([0.9, 0.8], {1: 0.1, 2: 0.1}, floor=0.2) == (2, 1)


def test_of_equals_the_earliest_and_an_unknown_metric_never():
    assert chosen([0.8, 0.8, NAN], {}) == (1, 1)


@pytest.mark.parametrize("floor", [0.0, 0.2])
def test_the_floor_itself_is_enough(floor):
    assert chosen([0.9, 0.8], {1: floor, 2: 1.0}, floor=floor) == (1, 1)
