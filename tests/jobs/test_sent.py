# SPDX-License-Identifier: Apache-2.0
"""What is searched for in the sites' answers is found where it is."""

import copy
import runpy
from pathlib import Path

import pytest

check_sent = runpy.run_path(str(Path(__file__).with_name("sent.py")))["check_sent"]
LONGEST = {"methods": 3, "confusion": 3}
FIGURE = {"value": 0.1234, "n": 9, "low": None, "high": None}
ANSWER = {
    "cases": 40,
    "seconds": 1.5,
    "confusion": [[3, None, 9], [0, 9, 0], [7, 0, None]],
    "methods": [{"method": "saliency", "scores": {"relevance_mass": FIGURE}, "trust": []}],
}


def test_counts_figures_and_records_may_leave():
    check_sent(ANSWER, LONGEST)


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ({"confusion": [[1, 2, 3, 4]]}, "4 entries"),
        ({"confusion": [[0.5, 0.5]]}, "without its n"),
        ({"methods": [{}] * 4}, "4 entries"),
        ({"methods": [[1, 2], [3, 4]]}, "a list of numbers"),
        ({"methods": [{"map": [1, 2]}]}, "2 entries"),
        ({"methods": [{"scores": {"relevance_mass": {**FIGURE, "value": 0.12345}}}]}, "not rounded"),
        ({"methods": [{"scores": {"relevance_mass": {"value": 0.1}}}]}, "without its n"),
        ({"pixels": {str(place): place for place in range(9)}}, "by number"),
        ({"pixels": {f"p{place}": place for place in range(99)}}, "99 entries"),
        ({"pixel": 0.1}, "without its n"),
        ({"pixels": "0" * 99}, "99 characters"),
    ],
)
def test_an_array_in_any_form_is_found(part, why):
    with pytest.raises(AssertionError, match=why):
        check_sent({**copy.deepcopy(ANSWER), **part}, LONGEST)
