# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import spearmanr

from fedxai.score.similarity import rank_agreement

maps = hnp.arrays("float64", (1, 4, 5), elements=st.integers(-3, 3))


def agreement(first, second):
    return float(rank_agreement(torch.as_tensor(first)[None].double(), torch.as_tensor(second)[None].double()))


def test_it_is_spearmans_correlation():
    first, second = torch.randn(5, 6, 7), torch.randn(5, 6, 7)
    wanted = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(first, second, strict=True)]
    assert rank_agreement(first, second).tolist() == pytest.approx(wanted)


def test_a_background_of_zeros_does_not_count():
    first, second = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([3.0, 2.0, 1.0])
    dark = torch.zeros(100)
    assert agreement(first, second) == agreement(torch.cat([first, dark]), torch.cat([second, dark])) == -1.0


def test_signs_count():
    assert agreement([1.0, -2.0, 3.0], [-1.0, 2.0, -3.0]) == -1.0


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [([1.0, 1.0], [5.0, 5.0], 1.0), ([1.0, 1.0], [1.0, 2.0], 0.0), ([0.0, 0.0], [0.0, 0.0], 1.0)],
)
def test_maps_without_order_are_alike_among_themselves_only(first, second, wanted):
    assert agreement(first, second) == wanted


def test_a_map_that_is_not_finite_has_no_agreement():
    assert math.isnan(agreement([1.0, float("nan")], [1.0, 2.0]))


@settings(max_examples=40)
@given(first=maps, second=maps)
def test_it_is_symmetric_in_range_and_one_with_itself(first, second):
    value = agreement(first, second)
    assert -1 <= value <= 1
    assert value == pytest.approx(agreement(second, first))
    assert agreement(first, first) == pytest.approx(1.0)
