# SPDX-License-Identifier: Apache-2.0
"""A virtual scanner changes the picture as it says, and never loses a region."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedxai.errors import SettingsError
from fedxai.intake.scanner import Scanner, site_scanners

RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))


def test_the_neutral_scanner_changes_nothing():
    np.testing.assert_array_equal(Scanner().image(RAMP, seed=0), RAMP)
    np.testing.assert_array_equal(Scanner().region(np.where(RAMP > 99, 255, 0).astype(np.uint8)) > 0, RAMP > 99)


def test_gamma_follows_its_formula():
    got = Scanner(gamma=1.5).image(RAMP, seed=0)
    np.testing.assert_allclose(got, (RAMP / 255) ** 1.5 * 255, atol=0.51)


def test_noise_has_its_standard_deviation_and_its_seed():
    flat = np.full((128, 128), 128, dtype=np.uint8)
    noisy = Scanner(noise=0.05).image(flat, seed=1)
    assert np.std(noisy / 255) == pytest.approx(0.05, rel=0.05)
    np.testing.assert_array_equal(noisy, Scanner(noise=0.05).image(flat, seed=1))
    assert (noisy != Scanner(noise=0.05).image(flat, seed=2)).any()


def test_blur_smooths():
    edge = np.where(np.arange(128) < 64, 0, 255).astype(np.uint8) * np.ones((128, 1), dtype=np.uint8)
    assert np.abs(np.diff(Scanner(blur=2).image(edge, seed=0).astype(int))).max() < 80


def test_scale_shrinks_image_and_region_alike():
    disc = np.where(np.hypot(*(np.mgrid[:128, :128] - 63.5)) < 40, 255, 0).astype(np.uint8)
    image, region = Scanner(scale=0.8).image(disc, seed=0), Scanner(scale=0.8).region(disc)
    assert (image > 127).sum() / (disc > 0).sum() == pytest.approx(0.64, abs=0.01)
    assert ((image > 127) != (region > 0)).mean() < 0.005


@given(st.integers(0, 63), st.integers(0, 63), st.floats(0.8, 1.0))
def test_a_region_of_one_pixel_survives_and_an_empty_one_stays_empty(row, column, scale):
    mask = np.zeros((64, 64), dtype=np.uint8)
    assert not Scanner(scale=scale).region(mask).any()
    mask[row, column] = 255
    assert Scanner(scale=scale).region(mask).any()


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 3)])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_shape_and_depth_stay(shape, depth):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(depth).max, shape, dtype=depth)
    got = Scanner(gamma=0.8, blur=1, noise=0.02, scale=0.9).image(pixels, seed=0)
    assert (got.shape, got.dtype) == (shape, depth)


def test_sites_have_scanners_of_their_own_and_the_seed_deals_them():
    scanners = site_scanners(4, seed=0)
    for name in ("gamma", "blur", "noise", "scale"):
        assert len({getattr(scanner, name) for scanner in scanners}) == 4
    assert scanners == site_scanners(4, seed=0) != site_scanners(4, seed=1)


@pytest.mark.parametrize("wrong", [{"gamma": 0}, {"blur": -1}, {"noise": -0.1}, {"scale": 1.2}])
def test_a_parameter_out_of_range_is_refused(wrong):
    with pytest.raises(SettingsError, match="gamma must be > 0"):
        Scanner(**wrong)
