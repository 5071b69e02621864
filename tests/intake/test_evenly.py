# SPDX-License-Identifier: Apache-2.0
import pytest

from fedxai.intake.evenly import evenly


@pytest.mark.parametrize(
    ("count", "most", "chosen"),
    [(9, 3, [0, 4, 8]), (10, 4, [0, 3, 6, 9]), (2, 5, [0, 1]), (1, 1, [0]), (0, 3, []), (5, 1, [0])],
)
def test_the_first_and_the_last_are_among_them_and_none_comes_twice(count, most, chosen):
    assert evenly(range(count), most) == chosen


def test_of_any_number_any_number_is_chosen_in_order():
    for count in range(1, 40):
        for most in range(1, count + 1):
            chosen = evenly(range(count), most)
            assert chosen == sorted(set(chosen))
            assert len(chosen) == most
