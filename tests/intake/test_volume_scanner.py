# SPDX-License-Identifier: Apache-2.0
"""A virtual scanner for volumes changes them as it says, in millimetres, and never loses a structure."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.affines import apply_affine

from fedxai.errors import SettingsError
from fedxai.intake.scanner import Scanner
from fedxai.intake.volume import Volume
from fedxai.intake.volume_scanner import VolumeScanner, site_volume_scanners


def volume(voxels, spacing=(1.0, 1.0, 1.0)):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-10, 4, 7)
    return Volume(voxels=voxels, affine=affine)


@pytest.fixture
def ramp():
    """0 to 2000 along the first axis."""
    return volume(np.tile(np.linspace(0, 2000, 21)[:, None, None], (1, 12, 9)).astype(np.float32))


def test_the_neutral_scanner_changes_nothing(ramp):
    got = VolumeScanner().image(ramp, seed=0)
    np.testing.assert_allclose(got.voxels, ramp.voxels, atol=1e-3)
    np.testing.assert_array_equal(got.affine, ramp.affine)


def test_gamma_follows_its_formula_between_the_darkest_and_the_bright(ramp):
    shifted = volume(ramp.voxels - 1000)  # as in Hounsfield units
    got = VolumeScanner(plane=Scanner(gamma=1.5)).image(shifted, seed=0)
    np.testing.assert_allclose(got.voxels, (ramp.voxels / 2000) ** 1.5 * 2000 - 1000, atol=1)


def test_the_field_is_uneven_along_one_direction_and_even_in_the_middle():
    flat = volume(np.pad(np.full((21, 21, 21), 1000, dtype=np.int16), 0))
    flat.voxels[0, 0, 0] = 0
    got = VolumeScanner(bias=0.3).image(flat, seed=4).voxels / 1000
    assert got[10, 10, 10] == pytest.approx(1, abs=0.01)
    assert np.log(got[1:, 1:, 1:].max()) > 0.3  # towards a corner
    product = got[1:, 1:, 1:] * got[1:, 1:, 1:][::-1, ::-1, ::-1]
    assert np.median(product) == pytest.approx(1, abs=0.1)


def test_noise_has_its_standard_deviation_and_its_seed():
    flat = volume(np.full((40, 40, 40), 500, dtype=np.int16))
    flat.voxels[::2] = 1500
    scanner = VolumeScanner(plane=Scanner(noise=0.05))
    noisy = scanner.image(flat, seed=1)
    assert noisy.voxels.dtype == np.int16
    assert np.std(noisy.voxels[::2]) == pytest.approx(50, rel=0.05)
    np.testing.assert_array_equal(noisy.voxels, scanner.image(flat, seed=1).voxels)
    assert (noisy.voxels != scanner.image(flat, seed=2).voxels).any()


def test_blur_is_as_wide_in_millimetres_along_every_axis():
    point = np.zeros((41, 41, 21), dtype=np.float32)
    point[20, 20, 10] = 1
    got = VolumeScanner(plane=Scanner(blur=3)).image(volume(point, (1, 1, 2)), seed=0).voxels.astype(float)
    wide = [
        np.sqrt((got.sum(axis=tuple({0, 1, 2} - {axis})) * (np.arange(n) - n // 2) ** 2).sum() / got.sum())
        for axis, n in enumerate(got.shape)
    ]
    assert wide[0] == pytest.approx(3, rel=0.05)
    assert wide[2] * 2 == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize(("spacing", "axis"), [((1, 1, 1), 2), ((3, 1, 1), 0), ((1, 2, 2), 2)])
def test_slices_are_joined_along_the_longest_voxels_and_stay_where_they_are(spacing, axis):
    voxels = np.random.default_rng(0).random((12, 12, 12)).astype(np.float32)
    before = volume(voxels, spacing)
    after = VolumeScanner(thickness=3).image(before, seed=0)
    assert after.grid == tuple(4 if a == axis else 12 for a in range(3))
    assert after.spacing[axis] == pytest.approx(3 * spacing[axis])
    middle = [1 if a == axis else 0 for a in range(3)]
    np.testing.assert_allclose(apply_affine(after.affine, [0, 0, 0]), apply_affine(before.affine, middle))
    expected = np.moveaxis(voxels, axis, -1).reshape(12, 12, 4, 3).mean(axis=-1)
    np.testing.assert_allclose(np.moveaxis(after.voxels, axis, -1), expected, atol=1e-3)


def test_scale_shrinks_image_and_label_map_alike():
    ball = (sum((axis - 20) ** 2 for axis in np.mgrid[:41, :41, :41]) < 14**2).astype(np.uint8)
    scanner = VolumeScanner(plane=Scanner(scale=0.8), thickness=2)
    image, label = scanner.image(volume(ball * 100), seed=0), scanner.mask(volume(ball * 2))
    assert label.voxels.sum() / 2 / (ball.sum() / 2) == pytest.approx(0.8**3, rel=0.03)
    assert ((image.voxels > 50) != (label.voxels > 0)).mean() < 0.005
    np.testing.assert_array_equal(image.affine, label.affine)
    assert label.voxels.dtype == np.uint8


@given(st.tuples(*[st.integers(0, 14)] * 3), st.floats(0.7, 1.0), st.integers(1, 4))
def test_a_structure_of_one_voxel_survives(place, scale, thickness):
    labels = np.zeros((15, 15, 15), dtype=np.uint8)
    scanner = VolumeScanner(plane=Scanner(scale=scale), thickness=thickness)
    assert not scanner.mask(volume(labels)).voxels.any()
    labels[place] = 3
    assert set(np.unique(scanner.mask(volume(labels)).voxels)) == {0, 3}


def test_channels_are_pictured_one_by_one():
    voxels = np.random.default_rng(0).integers(0, 255, (8, 8, 8, 3)).astype(np.uint8)
    got = VolumeScanner(plane=Scanner(gamma=0.8, noise=0.02, scale=0.9), bias=0.2, thickness=2)
    pictured = got.image(volume(voxels), seed=0).voxels
    assert (pictured.shape, pictured.dtype) == ((8, 8, 4, 3), np.uint8)


def test_sites_have_scanners_of_their_own_and_the_seed_deals_them():
    scanners = site_volume_scanners(4, seed=0)
    assert len({scanner.bias for scanner in scanners}) == 4
    assert {scanner.thickness for scanner in scanners} == {1, 2, 3}
    assert len({scanner.plane.gamma for scanner in scanners}) == 4
    assert scanners == site_volume_scanners(4, seed=0) != site_volume_scanners(4, seed=1)


@pytest.mark.parametrize("wrong", [{"bias": -0.1}, {"thickness": 0}])
def test_a_parameter_out_of_range_is_refused(wrong):
    with pytest.raises(SettingsError, match="bias must be >= 0 and thickness >= 1"):
        VolumeScanner(**wrong)
