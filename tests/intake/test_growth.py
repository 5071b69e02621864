# SPDX-License-Identifier: Apache-2.0
"""Patients stay whole and where they are while a cohort grows, for any growth."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedxai.errors import CohortError
from fedxai.intake.growth import deal_cases
from fedxai.intake.journal import Stored
from fedxai.records import SPLITS

SHARES = {"training": 0.7, "validation": 0.1, "test": 0.2}


def record(i, patient, **more):
    return Stored(source=f"s{i}", patient=patient, image=f"{(i * 7919) % 9973:04d}.nii.gz", label="a", **more)


def deal(records, homes, seed=0):
    return deal_cases(records, [0] * len(records), homes, validation=0.1, test=0.2, seed=seed)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=12, max_size=40), st.lists(st.integers(0, 60), max_size=40), st.integers(0, 9)
)
def test_growth_moves_nobody_splits_nobody_and_keeps_the_shares(old, new, seed):
    old = [*range(3), *old]
    first = [record(i, f"p{patient}") for i, patient in enumerate(old)]
    groups, splits = deal(first, {}, seed)
    homes = {r.image: split for r, split in zip(first, splits, strict=True)}
    everyone = first + [record(i, f"p{patient}") for i, patient in enumerate(new, len(old))]
    groups, grown = deal(everyone, homes, seed)
    assert grown[: len(first)] == splits
    assert len(set(zip(groups, grown, strict=True))) == len(set(groups))
    largest = max(Counter(groups).values())
    added = Counter(grown)
    behind = max(SHARES[split] * len(everyone) - added[split] for split in SPLITS)
    before = max(SHARES[split] * len(everyone) - Counter(splits)[split] for split in SPLITS)
    assert behind <= max(2 * largest, before)


def test_names_of_patients_have_no_part_in_the_draw():
    one = [record(i, f"p{i // 2}") for i in range(40)]
    two = [record(i, f"q{99 - i // 2}") for i in range(40)]
    assert deal(one, {})[1] == deal(two, {})[1]
    assert deal(one, {}, seed=1)[1] != deal(one, {})[1]


def test_a_patient_that_would_be_in_two_splits_is_refused():
    records = [record(0, "pa", split="training"), record(1, "pa", split="test"), record(2, "pb", split="test")]
    with pytest.raises(CohortError, match="Patient pa would be in training and in test"):
        deal(records, {})
    shared = [record(0, "pa"), record(1, "pb"), record(0, "pb")]  # image 0 turns out to be of both
    with pytest.raises(CohortError, match="take the cohort in anew"):
        deal(shared, {shared[0].image: "training", shared[1].image: "test"})
