# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, t

from fedxai.combine.intervals import group_interval, mean_of
from fedxai.errors import SettingsError

VALUES = np.random.default_rng(3).normal(size=60)


mean = mean_of(VALUES)


def plain_interval(groups, seed, resamples=1000):
    """Draw patients one by one and gather their cases in a list."""
    names = list(dict.fromkeys(groups))
    random = np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        cases = []
        for drawn in random.integers(0, len(names), len(names)):
            cases.extend(index for index, group in enumerate(groups) if group == names[drawn])
        draws.append(VALUES[cases].mean())
    below = norm.cdf(t.ppf(0.025, len(names) - 1) * np.sqrt(len(names) / (len(names) - 1)))
    return np.quantile(draws, [below, 1 - below])


def test_interval_is_that_of_a_slow_loop():
    groups = [f"p{index % 11}" for index in range(60)]
    wanted = plain_interval(groups, seed=7)
    np.testing.assert_allclose(group_interval(mean, groups, seed=7), wanted, rtol=1e-9)


def test_single_cases_give_the_textbook_interval_of_a_mean():
    low, high = group_interval(mean, [str(index) for index in range(60)], resamples=4000)
    error = VALUES.std() / np.sqrt(60)
    assert (low, high) == pytest.approx((VALUES.mean() - 1.96 * error, VALUES.mean() + 1.96 * error), abs=0.2 * error)


def test_it_covers_the_truth_about_as_often_as_it_says():
    random, hits = np.random.default_rng(0), 0
    groups = np.repeat(np.arange(30), 3).astype(str).tolist()
    for trial in range(100):
        values = np.repeat(random.normal(size=30), 3) + 0.3 * random.normal(size=90)
        low, high = group_interval(mean_of(values), groups, resamples=200, seed=trial)
        hits += low <= 0 <= high
    assert 85 <= hits <= 99


@pytest.mark.parametrize("patients", [8, 12])
def test_of_few_patients_it_covers_the_truth_too(patients):
    """The plain percentiles of 8 patients leave the truth out in one of eight samples, on either side in 6 %."""
    random, left_out = np.random.default_rng(1), 0
    groups = [str(patient) for patient in range(patients)]
    for trial in range(300):
        low, high = group_interval(mean_of(random.normal(size=patients)), groups, seed=trial)
        left_out += not low <= 0 <= high
    assert left_out <= 0.08 * 300


def test_patients_come_with_all_their_cases():
    groups = ["a", "b", "a", "c", "b", "a"]
    seen = []

    def watched(weights):
        seen.extend(weights)
        return weights[:, 0]

    group_interval(watched, groups, resamples=250)
    assert len(seen) == 250
    for counts in seen:
        assert counts[0] == counts[2] == counts[5]
        assert counts[1] == counts[4]
        assert counts[0] + counts[1] + counts[3] == 3


def test_a_case_of_unknown_patient_stands_for_itself():
    known = group_interval(mean, [str(index) for index in range(60)], seed=1)
    assert group_interval(mean, [""] * 60, seed=1) == known


@settings(max_examples=25)
@given(st.lists(st.sampled_from("abcde"), min_size=2, max_size=20), st.integers(0, 5))
def test_the_same_seed_gives_the_same_ordered_interval(groups, seed):
    of_these = mean_of(VALUES[: len(groups)])
    first = group_interval(of_these, groups, resamples=60, seed=seed)
    np.testing.assert_equal(first, group_interval(of_these, groups, resamples=60, seed=seed))
    assert first[0] <= first[1] or len(set(groups)) == 1


def test_draws_without_a_value_are_left_out():
    def with_the_first(weights):
        return np.where(weights[:, 0] > 0, weights[:, 0], np.nan)

    assert group_interval(with_the_first, [str(index) for index in range(60)])[0] == 1


def test_never_a_value_gives_no_interval():
    assert np.isnan(group_interval(lambda weights: np.full(len(weights), np.nan), ["a", "b"])).all()


def test_one_patient_gives_no_interval():
    assert np.isnan(group_interval(mean, ["a"] * 60)).all()


@pytest.mark.parametrize(
    ("groups", "keywords"), [([], {}), (["a", "b"], {"resamples": 0}), (["a", "b"], {"level": 1.0})]
)
def test_settings_out_of_their_range_are_refused(groups, keywords):
    with pytest.raises(SettingsError, match="intervals need cases"):
        group_interval(mean, groups, **keywords)
