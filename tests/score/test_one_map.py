# SPDX-License-Identifier: Apache-2.0
"""E in its three readings and the pointing game against slow loops, and what is refused."""

import math

import pytest
import torch

from fedxai.errors import ExplanationError
from fedxai.score import chance, score_map


def plain_scores(attribution, region):
    """Equation 5 and the pointing game, voxel by voxel, for one case."""
    total = {"abs": 0.0, "positive": 0.0, "signed": 0.0}
    inside = dict(total)
    best, tied, hits = -1.0, 0, 0
    for place in torch.cartesian_prod(*(torch.arange(n) for n in region.shape[1:])).tolist():
        s = sum(float(channel[tuple(place)]) for channel in attribution)
        for kind, value in (("abs", abs(s)), ("positive", max(s, 0.0)), ("signed", s)):
            total[kind] += value
            if region[(0, *place)]:
                inside[kind] += value
        if abs(s) > best:
            best, tied, hits = abs(s), 0, 0
        if abs(s) == best:
            tied += 1
            hits += int(region[(0, *place)])
    return {
        "relevance_mass": inside["abs"] / total["abs"],
        "relevance_mass_positive": inside["positive"] / total["positive"],
        "relevance_mass_signed": inside["signed"] / total["signed"] if total["signed"] else math.nan,
        "pointing_game": hits / tied,
    }


@pytest.mark.parametrize("space", [(9, 7), (5, 4, 6)])
@pytest.mark.parametrize("channels", [1, 3])
def test_scores_are_those_of_the_slow_loop(space, channels):
    torch.manual_seed(len(space) + channels)
    attribution = (torch.randn(6, channels, *space) + 0.2) * 3
    attribution[4:] = attribution[4:].round()  # ties
    region = torch.rand(6, 1, *space) > 0.7
    got = score_map(attribution, region)
    for case in range(6):
        for name, wanted in plain_scores(attribution[case], region[case]).items():
            assert float(got[name][case]) == pytest.approx(wanted, rel=1e-6, nan_ok=True), name


def test_chance_is_the_share_of_voxels_in_the_region():
    region = torch.zeros(2, 1, 4, 5)
    region[0, 0, 1:3, 1:3] = 1
    region[1] = 255
    for name in ("relevance_mass", "relevance_mass_positive", "relevance_mass_signed", "pointing_game", "iou_best"):
        assert chance(region)[name].tolist() == [0.2, 1.0]


def test_an_empty_region_has_no_score_and_no_chance():
    region = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    region[1, 0, 0, 0] = True
    for values in (score_map(torch.rand(2, 1, 4, 4), region), chance(region)):
        assert values["relevance_mass"].isnan().tolist() == [True, False]


def test_channels_are_summed_before_their_sign_is_dropped():
    attribution = torch.zeros(1, 2, 2, 2)
    attribution[0, :, 0, 0] = torch.tensor([5.0, -5.0])  # cancels
    attribution[0, :, 1, 1] = torch.tensor([1.0, -3.0])
    region = torch.zeros(1, 1, 2, 2)
    region[0, 0, 0, 0] = 1
    assert score_map(attribution, region)["relevance_mass"].item() == 0.0


def test_one_case_without_a_value_spares_the_others():
    attribution = torch.ones(3, 1, 4, 4)
    attribution[0] = 0
    attribution[1, 0, 2, 2] = float("nan")
    region = torch.ones(3, 1, 4, 4)
    region[..., 0] = 0
    for values in score_map(attribution, region).values():
        assert [math.isnan(value) for value in values.tolist()] == [True, True, False]


@pytest.mark.parametrize(
    ("maps", "region", "reason"),
    [
        ((2, 1, 4, 4), (2, 4, 4), r"region must be \(B, 1, \*spatial\), got \(2, 4, 4\)"),
        ((2, 1, 4, 4), (2, 2, 4, 4), r"region must be"),
        ((2, 1, 4, 4), (2, 1, 4, 5), r"got \(2, 1, 4, 4\) and \(2, 1, 4, 5\)"),
        ((1, 1, 4, 4), (2, 1, 4, 4), "share batch and grid"),
        ((2, 1, 4, 4, 4), (2, 1, 4, 4), "share batch and grid"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(maps, region, reason):
    with pytest.raises(ExplanationError, match=reason):
        score_map(torch.ones(maps), torch.ones(region))
