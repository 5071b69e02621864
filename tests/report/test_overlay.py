# SPDX-License-Identifier: Apache-2.0
"""Overlays: the right planes, the right colours, the outline around the region."""

import numpy as np

from fedxai.report.overlay import TILE, colour_steps, cuts, grey, magnitude, outlined, overlay, plane, strip, strongest


def test_a_volume_is_cut_where_the_region_is_largest_else_in_its_middle() -> None:
    image = np.zeros((1, 9, 4, 6))
    region = np.zeros((1, 9, 4, 6), bool)
    assert cuts(image, None) == [(0, 4), (1, 2), (2, 3)]
    assert cuts(image, region) == cuts(image, None)
    region[0, 2, 0, 0] = region[0, 7, 1:3, 5] = region[0, 7, 1, 4] = True
    assert cuts(image, region) == [(0, 7), (1, 1), (2, 5)]
    assert cuts(image[:, 0], region[:, 0]) == [None]


def test_magnitude_is_summed_over_channels_and_counts_what_is_not_finite_as_zero() -> None:
    signed = np.stack([np.full((3, 3), -1.0), np.full((3, 3), 2.0)])
    assert np.array_equal(magnitude(signed, (3, 3)), np.full((3, 3), 3.0))
    assert np.array_equal(magnitude(-np.eye(3), (3, 3)), np.eye(3))
    assert np.array_equal(magnitude(np.full((2, 2), np.inf), (2, 2)), np.zeros((2, 2)))


def test_a_plane_is_one_index_along_one_axis() -> None:
    whole = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(plane(whole, (1, 2)), whole[:, 2])
    assert plane(whole[0], None) is not None
    assert grey(whole[None].astype(float), (2, 1)).shape == (TILE * 2 // 3, TILE, 3)


def test_the_strongest_colour_is_the_99th_percentile_or_the_maximum_of_a_sparse_map() -> None:
    sparse = np.zeros((40, 40))
    sparse[0, 0] = 5.0
    assert strongest(sparse) == 5.0
    assert strongest(np.arange(101.0)) == 99.0
    assert strongest(np.zeros((4, 4))) == 0.0


def test_tiles_of_unequal_height_stand_in_the_middle() -> None:
    sheet = np.asarray(strip([np.zeros((30, 10, 3)), np.zeros((10, 20, 3))], gap=2))
    assert sheet.shape == (30, 32, 3)
    assert sheet[0, 20].min() == 255
    assert sheet[15, 20].max() == 0


def test_map_colours_where_it_is_strong_and_leaves_the_image_where_it_is_zero() -> None:
    background = grey(np.tile(np.linspace(0, 1, 32), (1, 32, 1)), None)
    share = np.zeros((32, 32))
    share[:, :8] = 1.0
    drawn = overlay(background, share, 1.0)
    assert drawn.shape == (TILE, TILE, 3)
    assert np.allclose(drawn[:, TILE // 2 :], background[:, TILE // 2 :])
    assert np.abs(drawn[:, : TILE // 8] - background[:, : TILE // 8]).min(axis=(0, 1)).max() > 50


def test_map_of_zeros_changes_nothing() -> None:
    background = grey(np.random.default_rng(0).random((1, 16, 16)), None)
    assert np.array_equal(overlay(background, np.zeros((16, 16)), 0.0), background)


def test_outline_runs_around_the_region_and_not_inside() -> None:
    picture = np.full((TILE, TILE, 3), 100.0)
    region = np.zeros((12, 12), bool)
    region[4:8, 4:8] = True
    drawn = outlined(picture, region)
    inside = drawn[TILE // 3 + 1 : 2 * TILE // 3 - 1, TILE // 3 + 1 : 2 * TILE // 3 - 1]
    assert np.array_equal(inside, np.full_like(inside, 100.0))
    assert (drawn != picture).any()
    assert np.array_equal(outlined(picture, region & False), picture)


def test_legend_runs_from_dark_to_light() -> None:
    lightness = [sum(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in colour_steps()]
    assert lightness == sorted(lightness)
