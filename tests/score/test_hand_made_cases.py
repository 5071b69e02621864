# SPDX-License-Identifier: Apache-2.0
"""Maps small enough to score on paper."""

import math

import pytest
import torch

from fedxai.errors import ExplanationError
from fedxai.score import Regions, score_map
from fedxai.score.iou_fixed import IouFixed
from fedxai.score.relevance_mass_margin import RelevanceMassMargin

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


def test_corrected_mass_is_zero_at_chance_one_inside_and_negative_outside():
    assert scores(1.0, 1.0, 1.0, 1.0)["relevance_mass_corrected"] == pytest.approx(0.0)
    assert scores(1.0, -3.0, 0.0, 0.0)["relevance_mass_corrected"] == pytest.approx(1.0)
    assert scores(0.0, 0.0, 2.0, 0.0)["relevance_mass_corrected"] == pytest.approx(-1.0)


def test_corrected_mass_is_undefined_where_the_region_is_the_whole_image():
    got = score_map(torch.rand(1, 1, 3, 3), torch.ones(1, 1, 3, 3))
    assert math.isnan(float(got["relevance_mass_corrected"]))


def test_the_margin_is_in_millimetres():
    """Voxels 0 to 9 along a row, the region is voxel 0: 5 mm reach voxel 5 at 1 mm and voxel 2 at 2 mm."""
    region = torch.zeros(1, 1, 1, 10)
    region[..., 0] = 1
    relevance = torch.arange(1.0, 11.0).reshape(1, 1, 1, 10)
    for spacing, reached in ((None, 6), ([9.0, 2.0], 3), (torch.tensor([[1.0, 0.5]]), 10)):
        got = score_map(relevance, Regions.of(region, spacing))["relevance_mass_margin"]
        assert float(got) == pytest.approx(sum(range(1, reached + 1)) / 55)


def test_the_margin_is_round_in_space():
    region = torch.zeros(1, 1, 9, 9, 9)
    region[..., 4, 4, 4] = 1
    near = sum((i - 4) ** 2 + (j - 4) ** 2 + (k - 4) ** 2 <= 4 for i in range(9) for j in range(9) for k in range(9))
    assert int(Regions.of(region).grown(2.0).sum()) == near


def test_rank_accuracy_looks_at_order_alone():
    assert scores(5.0, 0.1, -0.2, 0.0)["relevance_rank"] == 0.5
    assert scores(5.0, 0.1, 0.05, 0.0)["relevance_rank"] == 1.0


def test_rank_accuracy_shares_the_last_places():
    """One place is left for three voxels that tie, one of which is inside."""
    assert scores(5.0, 1.0, 1.0, 1.0)["relevance_rank"] == pytest.approx((1 + 1 / 3) / 2)


def test_best_iou_finds_the_cut_that_outlines_the_region():
    assert scores(3.0, 2.0, 1.0, 0.0)["iou_best"] == 1.0
    assert scores(3.0, 1.0, 2.0, 0.0)["iou_best"] == pytest.approx(2 / 3)
    assert scores(0.0, 0.0, 2.0, 1.0)["iou_best"] == 0.5  # the whole image


def test_best_iou_never_splits_a_tie():
    assert scores(2.0, 2.0, 2.0, 0.0)["iou_best"] == pytest.approx(2 / 3)


def test_fixed_iou_cuts_without_looking_at_the_region():
    """A twentieth of 40 voxels is two: one hit of a region of four gives 1 / (2 + 4 - 1)."""
    region = torch.zeros(1, 1, 4, 10)
    region[..., 0, :4] = 1
    relevance = torch.zeros(1, 1, 4, 10)
    relevance[..., 0, 0], relevance[..., 3, 9] = -7.0, 6.0
    assert float(score_map(relevance, region)["iou_fixed"]) == pytest.approx(0.2)


def test_gini_and_entropy_of_one_voxel_and_of_all():
    one, half = scores(0.0, 0.0, -2.0, 0.0), scores(1.0, 0.0, 1.0, 0.0)
    assert (one["gini"], one["entropy"]) == (pytest.approx(0.75), pytest.approx(0.0))
    assert (half["gini"], half["entropy"]) == (pytest.approx(0.5), pytest.approx(0.5))


@pytest.mark.parametrize("make", [lambda: IouFixed(share=0), lambda: RelevanceMassMargin(margin=-1)])
def test_settings_outside_their_range_are_refused(make):
    with pytest.raises(ExplanationError, match="must be"):
        make()


@pytest.mark.parametrize("spacing", [[1.0, 1.0, 1.0], [0.0, 1.0], torch.ones(2, 2)])
def test_a_spacing_that_does_not_fit_is_refused(spacing):
    with pytest.raises(ExplanationError, match="spacing must give 2 lengths above 0 mm for each of 1 cases"):
        Regions.of(REGION, spacing)
