# SPDX-License-Identifier: Apache-2.0
"""Maps small enough to score on paper."""

import math

import pytest
import torch

from fedxai.score import score_map

REGION = torch.tensor([[[[1, 1, 0, 0]]]])


def scores(*relevance):
    return {name: float(v) for name, v in score_map(torch.tensor([[[relevance]]]), REGION).items()}


def test_relevance_mass_ignores_signs():
    assert scores(1.0, -2.0, 3.0, -4.0)["relevance_mass"] == pytest.approx(0.3)


def test_positive_relevance_mass_counts_only_what_speaks_for_the_class():
    assert scores(1.0, -2.0, 3.0, -4.0)["relevance_mass_positive"] == pytest.approx(0.25)


def test_without_positive_relevance_the_positive_reading_is_undefined():
    got = scores(-1.0, -2.0, 0.0, 0.0)
    assert math.isnan(got["relevance_mass_positive"])
    assert got["relevance_mass"] == 1.0


def test_the_signed_reading_may_exceed_one_and_be_negative():
    assert scores(3.0, 1.0, -2.0, 0.0)["relevance_mass_signed"] == pytest.approx(2.0)
    assert scores(-1.0, 0.0, 3.0, 0.0)["relevance_mass_signed"] == pytest.approx(-0.5)


@pytest.mark.parametrize(("rest", "undefined"), [(1.0, True), (0.999, True), (0.997, False)])
def test_the_signed_reading_is_undefined_where_relevance_cancels(rest, undefined):
    """``|1 - rest| <= 0.001 (1 + rest)``: 0.999 cancels, 0.997 does not."""
    assert math.isnan(scores(1.0, 0.0, -rest, 0.0)["relevance_mass_signed"]) is undefined


def test_pointing_game_takes_the_largest_magnitude():
    assert scores(0.0, 2.0, 1.0, 1.9)["pointing_game"] == 1.0
    assert scores(0.0, 2.0, 1.0, -2.1)["pointing_game"] == 0.0


def test_pointing_game_shares_a_tie():
    assert scores(5.0, 0.0, -5.0, 5.0)["pointing_game"] == pytest.approx(1 / 3)
