# SPDX-License-Identifier: Apache-2.0
import pytest

from fedxai.records import Case
from fedxai.train.explained_cases import evenly_spread


@pytest.fixture
def cases(tmp_path):
    return [Case(image=tmp_path / f"{number}.png", label=0) for number in range(10)]


@pytest.mark.parametrize(
    ("limit", "places"), [(1, [0]), (2, [0, 9]), (4, [0, 3, 6, 9]), (10, list(range(10))), (99, list(range(10)))]
)
def test_cases_are_spread_from_the_first_to_the_last(cases, limit, places):
    assert evenly_spread(cases, limit) == [cases[place] for place in places]


def test_no_case_comes_twice_whatever_the_numbers(cases):
    for limit in range(1, 11):
        assert len({case.image for case in evenly_spread(cases, limit)}) == limit


def test_of_no_cases_none_are_chosen():
    assert evenly_spread([], 5) == []
