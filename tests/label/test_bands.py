# SPDX-License-Identifier: Apache-2.0
"""Bands hold the most relevant voxels, and are known by their names however a viewer writes them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedxai.errors import ExplanationError
from fedxai.label.bands import NAMES, QUANTILES, bands, is_band, without_bands


@given(st.integers(0, 10_000), st.integers(8, 20), st.integers(8, 20))
def test_bands_hold_the_shares_that_their_quantiles_say(seed, rows, columns):
    relevance = torch.randn(1, rows, columns, generator=torch.Generator().manual_seed(seed))
    banded = bands(relevance)
    size = relevance.abs()
    for value, quantile in enumerate(QUANTILES, start=1):
        inside = banded >= value
        assert abs(inside.double().mean() - (1 - quantile)) <= 1 / (rows * columns) + 1e-9
        assert size[inside].min() > size[~inside].max()


def test_sign_and_scale_change_no_band():
    relevance = torch.randn(1, 6, 7, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(bands(relevance), bands(-1000 * relevance))


def test_a_map_without_relief_has_no_bands():
    assert not bands(torch.full((1, 9, 9), 0.7)).any()
    assert not bands(torch.zeros(1, 9, 9)).any()


def test_a_single_bright_voxel_is_high_and_nothing_else_is_anything():
    relevance = torch.zeros(1, 10, 10)
    relevance[0, 3, 4] = 5
    banded = bands(relevance)
    assert banded[0, 3, 4] == len(NAMES)
    assert banded.sum() == len(NAMES)


@pytest.mark.parametrize("quantiles", [(0.9,), (0.9, 0.8, 0.97), (0.0, 0.5, 0.9), (0.5, 0.9, 1.0)])
def test_thresholds_that_do_not_rise_are_refused(quantiles):
    with pytest.raises(ExplanationError, match="rising"):
        bands(torch.rand(1, 4, 4), quantiles)


def test_a_map_that_is_not_finite_is_refused():
    with pytest.raises(ExplanationError, match="finite"):
        bands(torch.tensor([[0.0, float("nan")]]))


@pytest.mark.parametrize("name", ["saliency high", "Saliency_High", " saliency-low ", "SALIENCY  MID"])
def test_a_band_is_known_however_it_is_written(name):
    assert is_band(name)


def test_what_people_draw_is_no_band():
    assert without_bands(["lesion", "saliency low", "high", "saliency"]) == ["lesion", "high", "saliency"]
