# SPDX-License-Identifier: Apache-2.0
"""Patients stay whole, whatever is drawn."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedxai.errors import CohortError
from fedxai.intake.patients import deal, group_labels, hold_out, join_repeats, pseudonyms

cohorts = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), min_size=40, max_size=120).filter(
    lambda pairs: len({group for group, _ in pairs}) >= 3
)


@given(cohorts, st.integers(0, 5))
def test_hold_out_never_cuts_a_patient_and_fills_every_split(pairs, seed):
    groups = [str(group) for group, _ in pairs]
    labels = [label for _, label in pairs]
    splits = hold_out(groups, labels, validation=0.1, test=0.2, seed=seed)
    homes = {group: {s for g, s in zip(groups, splits, strict=True) if g == group} for group in groups}
    assert all(len(home) == 1 for home in homes.values())
    assert set(splits) == {"training", "validation", "test"}
    assert splits == hold_out(groups, labels, validation=0.1, test=0.2, seed=seed)


def test_hold_out_meets_the_shares_in_every_class():
    groups = [f"{i // 5}" for i in range(1500)]
    labels = [(i // 5) % 3 for i in range(1500)]
    splits = hold_out(groups, labels, validation=0.1, test=0.2, seed=3)
    for label in range(3):
        counts = Counter(s for s, own in zip(splits, labels, strict=True) if own == label)
        assert counts == {"training": 350, "validation": 50, "test": 100}


def test_hold_out_without_validation_or_with_too_few_patients():
    splits = hold_out(["a", "b", "c", "d"], [0] * 4, validation=0, test=0.25, seed=0)
    assert Counter(splits) == {"training": 3, "test": 1}
    with pytest.raises(CohortError, match="2 patients cannot fill"):
        hold_out(["a", "b"], [0, 0], validation=0.1, test=0.2, seed=0)
    with pytest.raises(CohortError, match="must be >= 0 and < 1"):
        hold_out(["a", "b"], [0, 0], validation=0.5, test=0.5, seed=0)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=40))
def test_joined_repeats_connect_exactly_what_shares_a_patient_or_an_image(pairs):
    joined = join_repeats([str(group) for group, _ in pairs], [content for _, content in pairs])
    # Slow restatement: spread the smallest mark over shared patients and shared images until nothing changes.
    marks, before = list(range(len(pairs))), None
    while marks != before:
        before = list(marks)
        for i, one in enumerate(pairs):
            for j, other in enumerate(pairs):
                if one[0] == other[0] or one[1] == other[1]:
                    marks[i] = marks[j] = min(marks[i], marks[j])
    for i in range(len(pairs)):
        for j in range(len(pairs)):
            assert (joined[i] == joined[j]) == (marks[i] == marks[j])


def test_pseudonyms_rename_one_to_one_and_forget_the_order():
    groups = [f"patient {i:03d}" for i in range(50)] * 2
    names = pseudonyms(groups, seed=0)
    assert names[:50] == names[50:]
    assert sorted(names[:50]) == [f"p{i + 1:04d}" for i in range(50)]
    assert names[:50] != sorted(names[:50])


def test_group_labels_takes_the_most_frequent_and_the_lowest_on_a_tie():
    assert group_labels(["b", "b", "b", "a", "a"], [2, 1, 2, 1, 0]) == {"a": (0, 2), "b": (2, 3)}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=60), st.integers(1, 5), st.integers(0, 9))
def test_dealt_shares_are_met_within_one_patient(sizes, parts, seed):
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(parts))
    dealt = deal(sizes, shares, rng)
    for part in range(parts):
        got = sum(size for size, own in zip(sizes, dealt, strict=True) if own == part)
        assert abs(got - shares[part] * sum(sizes)) <= max(sizes) + 1e-9
