# SPDX-License-Identifier: Apache-2.0
"""What every score promises, asked of all that are registered."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedxai.errors import ExplanationError
from fedxai.score import SCORES, Score, centred, chance, score_map

SIGNED = "relevance_mass_signed"
every_score = pytest.mark.parametrize("name", list(SCORES))
maps = hnp.arrays("float32", (1, 1, 5, 6), elements=st.floats(-100, 100, width=32))
regions = hnp.arrays("bool", (1, 1, 5, 6))


def scored(name, attribution, region):
    return float(score_map(torch.as_tensor(attribution), torch.as_tensor(region))[name])


@every_score
def test_it_says_what_it_is(name):
    score = SCORES.make(name)
    assert isinstance(score, Score)
    assert score.direction in ("higher", "lower")
    low, high = score.range
    assert low < high
    assert isinstance(score.needs_region, bool)


@pytest.mark.parametrize("name", [name for name in SCORES if SCORES.make(name).needs_region])
@pytest.mark.parametrize("space", [(8, 6), (4, 5, 6)])
def test_a_uniform_map_scores_exactly_chance(name, space):
    region = torch.rand(3, 1, *space) > 0.6
    wanted = chance(region)[name]
    assert bool(wanted.isfinite().all())
    for level in (0.5, 1e-6, 3e4):
        got = score_map(torch.full((3, 1, *space), level), region)[name]
        assert torch.allclose(got, wanted, rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in SCORES if name != SIGNED])
def test_random_maps_score_chance(name):
    """On average, of independent normal voxels; the best cut of chance alone finds a little more than nothing."""
    region = torch.zeros(300, 1, 24, 24)
    region[..., 4:12, 6:14] = 1
    maps = torch.randn(300, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    got, wanted = score_map(maps, region)[name].mean(), chance(region)[name].mean()
    assert float(got) == pytest.approx(float(wanted), abs=0.03 if name != "iou_best" else 0.06)


@every_score
@pytest.mark.parametrize("space", [(8, 6), (4, 5, 6)])
def test_a_centred_gaussian_scores_exactly_its_level(name, space):
    region = torch.rand(2, 1, *space) > 0.6
    axes = [torch.arange(n).double().sub((n - 1) / 2).div(n / 4).square() for n in space]
    gaussian = torch.exp(-0.5 * sum(torch.meshgrid(*axes, indexing="ij"))).expand(2, 1, *space)
    got, wanted = score_map(gaussian, region)[name], centred(region)[name]
    # the four voxels around the middle tie up to rounding, so order-based scores may pick another one
    assert torch.allclose(got, wanted, atol=0.51 if name == "pointing_game" else 0.05)


@every_score
def test_an_empty_region_is_undefined_only_where_the_score_needs_one(name):
    region = torch.zeros(1, 1, 4, 4)
    values = (score_map(torch.rand(1, 1, 4, 4), region), chance(region), centred(region))
    assert all(math.isnan(float(kind[name])) is SCORES.make(name).needs_region for kind in values)


@every_score
def test_all_relevance_inside_beats_all_relevance_outside(name):
    region = torch.zeros(1, 1, 16, 16)
    region[..., 2:4, 2:4] = 1
    inside, outside = scored(name, region * 2, region), scored(name, 1 - region, region)
    better, worse = (inside, outside) if SCORES.make(name).direction == "higher" else (outside, inside)
    assert better > worse


@every_score
@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_map_without_meaning_is_undefined(name, value):
    assert math.isnan(scored(name, torch.full((1, 1, 3, 3), value), torch.ones(1, 1, 3, 3)))


@every_score
@settings(max_examples=25)
@given(attribution=maps, region=regions)
def test_a_value_is_in_its_range_or_undefined(name, attribution, region):
    low, high = SCORES.make(name).range
    value = scored(name, attribution, region)
    assert math.isnan(value) or low <= value <= high


@every_score
@settings(max_examples=25)
@given(attribution=maps, region=regions, exponent=st.integers(-30, 30))
def test_scale_does_not_matter(name, attribution, region, exponent):
    before = scored(name, attribution, region)
    after = scored(name, attribution.astype("float64") * 2.0**exponent, region)
    assert after == pytest.approx(before, rel=1e-9, nan_ok=True)


@given(attribution=maps, region=regions)
def test_a_region_and_its_complement_share_all_relevance(attribution, region):
    for name in ("relevance_mass", "relevance_mass_positive", SIGNED, "pointing_game"):
        both = scored(name, attribution, region) + scored(name, attribution, ~region)
        assert math.isnan(both) or both == pytest.approx(1.0, abs=1e-6)


@every_score
def test_cases_are_scored_one_by_one(name):
    attribution, region = torch.randn(4, 2, 5, 5), torch.rand(4, 1, 5, 5) > 0.5
    together = score_map(attribution, region)[name]
    alone = [scored(name, attribution[i : i + 1], region[i : i + 1]) for i in range(4)]
    assert together.tolist() == pytest.approx(alone, rel=1e-9, nan_ok=True)


@every_score
def test_a_map_on_another_grid_is_refused(name):
    with pytest.raises(ExplanationError, match="share batch and grid"):
        score_map(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 5))[name]


def test_an_unknown_score_lists_the_known_ones():
    with pytest.raises(ExplanationError, match=r"unknown score 'iou'; choose from .*relevance_mass"):
        SCORES.make("iou")
