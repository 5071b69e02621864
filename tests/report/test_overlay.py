# SPDX-License-Identifier: Apache-2.0
"""Overlays: the right slice, the right colours, the outline around the region."""

import numpy as np

from fedxai.report.overlay import TILE, colour_steps, grey, outlined, overlay, plane, shown_slice


def test_slice_with_most_region_is_shown_else_the_middle() -> None:
    image = np.zeros((1, 9, 4, 4))
    region = np.zeros((1, 9, 4, 4), bool)
    assert shown_slice(image, None) == 4
    assert shown_slice(image, region) == 4
    region[0, 2, 0, 0] = region[0, 7, :2] = True
    assert shown_slice(image, region) == 7
    assert shown_slice(image[:, 0], region[:, 0]) is None


def test_plane_is_the_magnitude_summed_over_channels() -> None:
    signed = np.stack([np.full((3, 3), -1.0), np.full((3, 3), 2.0)])
    assert np.array_equal(plane(signed, (3, 3), None), np.full((3, 3), 3.0))
    assert np.array_equal(plane(-np.eye(3), (3, 3), None), np.eye(3))


def test_map_colours_where_it_is_strong_and_leaves_the_image_where_it_is_zero() -> None:
    background = grey(np.tile(np.linspace(0, 1, 32), (1, 32, 1)), None)
    magnitude = np.zeros((32, 32))
    magnitude[:, :8] = 1.0
    drawn = overlay(background, magnitude)
    assert drawn.shape == (TILE, TILE, 3)
    assert np.allclose(drawn[:, TILE // 2 :], background[:, TILE // 2 :])
    assert np.abs(drawn[:, : TILE // 8] - background[:, : TILE // 8]).min(axis=(0, 1)).max() > 50


def test_map_of_zeros_changes_nothing() -> None:
    background = grey(np.random.default_rng(0).random((1, 16, 16)), None)
    assert np.array_equal(overlay(background, np.zeros((16, 16))), background)


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
