# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from fedxai.combine.intervals import case_mean, figure_of, group_interval, mean_of
from fedxai.records import Figure


@pytest.mark.parametrize("patients", [5, 7, 40])
def test_its_interval_is_the_cluster_bootstraps(patients):
    random = np.random.default_rng(patients)
    groups = [f"p{index:03d}" for index in random.integers(patients, size=60)]
    values = random.standard_normal(60)
    figure = case_mean(values, groups, seed=3)
    low, high = group_interval(mean_of(values), groups, seed=3)
    assert figure == Figure(value=values.mean(), n=60, low=low, high=high)


def test_cases_without_a_patient_stand_alone():
    values = np.array([0.1, 0.4, 0.9])
    assert case_mean(values, ["", "", ""]) == case_mean(values, ["a", "b", "c"])


def test_cases_that_are_not_finite_are_left_out_with_their_patients():
    values = np.array([0.1, np.nan, 0.4, np.inf, 0.9])
    assert case_mean(values, list("abcde")) == case_mean(values[[0, 2, 4]], list("ace"))
    assert case_mean(np.full(2, np.nan), list("ab")) == Figure(value=None, n=0)


def test_where_no_interval_is_asked_none_is_given():
    asked = figure_of(mean_of(np.arange(6.0)), list("abcdef"), intervals=False)
    assert asked == Figure(value=2.5, n=6)


def test_nothing_has_no_mean():
    assert case_mean(np.array([]), []) == Figure(value=None, n=0)


@pytest.mark.parametrize("patients", [1, 2, 3, 4])
def test_few_patients_have_no_interval_for_its_ends_would_be_their_own_means(patients):
    values, groups = np.random.default_rng(0).random(12), [f"p{index % patients}" for index in range(12)]
    assert case_mean(values, groups) == Figure(value=values.mean(), n=12)
    if patients == 3:  # such an end
        ends = group_interval(mean_of(values), groups)
        own = [values[index::patients].mean() for index in range(patients)]
        assert ends == pytest.approx((min(own), max(own)))


def test_equal_values_have_a_point_for_an_interval():
    assert case_mean(np.full(5, 0.25), list("abcde")) == Figure(value=0.25, n=5, low=0.25, high=0.25)
