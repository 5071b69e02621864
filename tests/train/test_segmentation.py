# SPDX-License-Identifier: Apache-2.0
"""Dice and HD95 against a slow restatement; what has no value has none; nothing but numbers is kept."""

import math

import numpy as np
import pytest
import torch

from fedxai.errors import CohortError, TrainingError
from fedxai.train.segmentation import SegmentationTally, check_map, figure_names

NAMES = ["background", "Anterior horn", "posterior"]
GRID = (9, 8, 7)
SPACING = (1.0, 2.0, 0.5)


def cross_entropy(logits, labels):
    return torch.nn.functional.cross_entropy(logits, labels[:, 0].long())


def blocks(rng, count=3):
    """Label maps of two touching boxes ``(B, 1, *grid)``."""
    maps = torch.zeros((count, 1, *GRID))
    for case in maps:
        a, b, c = (int(rng.integers(1, 3)) for _ in range(3))
        case[0, a : a + 4, b : b + 4, c : c + 3] = 1
        case[0, a + 2 : a + 5, b : b + 4, c : c + 3] = 2
    return maps


def logits_of(segmented, rng):
    """Logits whose largest is at the segmented class."""
    noise = torch.from_numpy(rng.random((len(segmented), 3, *GRID))).float()
    return noise + 2 * torch.cat([segmented == index for index in range(3)], dim=1)


def slow_dice(p, g):
    return 2 * np.sum(p & g) / (np.sum(p) + np.sum(g))


def surface(mask):
    """Voxels of a mask with a face neighbour outside it; beyond the grid is outside."""
    found = []
    for voxel in np.argwhere(mask):
        for axis in range(3):
            for step in (-1, 1):
                other = voxel.copy()
                other[axis] += step
                inside = 0 <= other[axis] < mask.shape[axis]
                if not inside or not mask[tuple(other)]:
                    found.append(voxel)
    return np.unique(found, axis=0) * np.array(SPACING)


def slow_hd95(p, g):
    one, other = surface(p), surface(g)
    distances = np.linalg.norm(one[:, None] - other[None], axis=2)
    return max(np.percentile(distances.min(axis=1), 95), np.percentile(distances.min(axis=0), 95))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def measured(rng):
    truth = blocks(rng)
    segmented = torch.roll(truth, 1, dims=3)
    logits = logits_of(segmented, rng)
    tally = SegmentationTally(NAMES, cross_entropy)
    tally.add(logits[:2], truth[:2], [SPACING] * 2)
    tally.add(logits[2:], truth[2:], [SPACING])
    return truth, segmented, logits, tally


def test_dice_and_hd95_are_those_of_a_slow_restatement(measured):
    truth, segmented, _, tally = measured
    metrics = tally.evaluation(["a", "b", "c"], split="test").metrics
    for index, name in ((1, "anterior_horn"), (2, "posterior")):
        pairs = [(s[0].numpy() == index, t[0].numpy() == index) for s, t in zip(segmented, truth, strict=True)]
        assert metrics[f"dice_{name}"].value == pytest.approx(np.mean([slow_dice(*pair) for pair in pairs]), abs=1e-4)
        assert metrics[f"hd95_{name}"].value == pytest.approx(np.mean([slow_hd95(*pair) for pair in pairs]), abs=1e-4)
        assert metrics[f"dice_{name}"].n == 3
    for kind in ("dice", "hd95"):
        parts = [metrics[f"{kind}_anterior_horn"].value, metrics[f"{kind}_posterior"].value]
        assert metrics[f"mean_{kind}"].value == pytest.approx(np.mean(parts), abs=1e-4)


def test_the_loss_is_the_bundles_own_case_by_case(measured):
    truth, _, logits, tally = measured
    slow = np.mean([float(cross_entropy(x[None], y[None])) for x, y in zip(logits, truth, strict=True)])
    figure = tally.evaluation(["a", "b", "c"], split="test").metrics["loss"]
    assert figure.value == pytest.approx(slow, abs=1e-4)


def test_a_perfect_segmentation_has_dice_1_and_distance_0(rng):
    truth = blocks(rng, 5)
    tally = SegmentationTally(NAMES, cross_entropy)
    tally.add(logits_of(truth, rng), truth, [SPACING] * 5)
    metrics = tally.evaluation([*"abcde"], split="test").metrics
    assert metrics["mean_dice"].value == metrics["mean_dice"].low == 1
    assert metrics["mean_hd95"].value == metrics["mean_hd95"].high == 0


def test_a_class_that_a_map_lacks_has_no_value_and_one_that_is_not_found_no_distance(rng):
    truth = blocks(rng, 2)
    truth[0][truth[0] == 2] = 0
    found = truth.clone()
    found[1][found[1] == 2] = 0
    tally = SegmentationTally(NAMES, cross_entropy)
    tally.add(logits_of(found, rng), truth, [SPACING] * 2)
    metrics = tally.evaluation(["a", "b"], split="test").metrics
    assert (metrics["dice_posterior"].value, metrics["dice_posterior"].n) == (0, 1)
    assert (metrics["hd95_posterior"].value, metrics["hd95_posterior"].n) == (None, 0)
    assert metrics["mean_dice"].value == pytest.approx((1 + 0.5) / 2)
    assert metrics["mean_dice"].n == metrics["hd95_anterior_horn"].n == 2


def test_without_a_known_spacing_there_is_no_distance(rng):
    truth = blocks(rng)
    tally = SegmentationTally(NAMES, cross_entropy)
    tally.add(logits_of(truth, rng), truth)
    metrics = tally.evaluation(["a", "b", "c"], split="test").metrics
    assert metrics["mean_hd95"].value is None
    assert metrics["mean_dice"].value == 1


def test_intervals_draw_patients_not_volumes(rng):
    truth = blocks(rng, 12)
    found = truth.clone()
    found[6:][found[6:] == 2] = 0
    tally = SegmentationTally(NAMES, cross_entropy)
    tally.add(logits_of(found, rng), truth, [SPACING] * 12)
    apart = tally.evaluation([*"abcdefghijkl"], split="test").metrics["dice_posterior"]
    together = tally.evaluation([*"aabbccddeeff"], split="test").metrics["dice_posterior"]
    assert apart.value == together.value == 0.5
    assert apart.high - apart.low < together.high - together.low


def test_only_numbers_are_kept_of_a_volume(rng):
    tally = SegmentationTally(NAMES, cross_entropy)
    truth = blocks(rng)
    for _ in range(4):
        tally.add(logits_of(truth, rng), truth, [SPACING] * 3)
    kept = [value for row in tally._rows for value in row]
    assert all(type(value) is float for value in kept)
    assert len(kept) == 4 * 3 * 7, "a loss, and of Dice and HD95 the mean and two classes, of each of 12 volumes"


@pytest.mark.parametrize("value", [3, -1, 0.5, math.nan, 255])
def test_a_value_that_is_no_class_is_refused(value):
    labels = torch.zeros(1, 1, 4, 4, 4)
    labels[0, 0, 1, 2, 3] = value
    with pytest.raises(CohortError, match=r"whole numbers from 0 to 2, got .*choose a bundle"):
        check_map(labels, 3)


@pytest.mark.parametrize("value", [3, -1, math.nan, 255])
def test_augmentation_may_leave_fractions_and_nothing_else_that_is_no_class(value):
    labels = torch.tensor([0, 0.125, 1.5, 2, 2 + 1e-6, -1e-6])
    check_map(labels, 3, augmented=True)
    with pytest.raises(CohortError, match="whole numbers from 0 to 2"):
        check_map(torch.cat([labels, torch.tensor([value])]), 3, augmented=True)


def test_logits_that_are_not_finite_are_refused(rng):
    logits = torch.full((1, 3, *GRID), math.nan)
    with pytest.raises(TrainingError, match="logits must be finite"):
        SegmentationTally(NAMES, cross_entropy).add(logits, blocks(rng, 1), [SPACING])


def test_class_names_become_names_of_figures():
    assert figure_names("dice", ["background", "Anterior horn (left)"]) == ["dice_anterior_horn_left"]
    [name] = figure_names("hd95", ["background", "x" * 100])
    assert len(name) == 64


def test_every_class_has_a_figure_of_its_own_whatever_it_is_called():
    names = ["background", "肿瘤", "水肿", "Core", "core ", "x" * 80, "x" * 81, "Class 1", "Rest"]
    figures = figure_names("dice", names)
    assert figures == [*(f"dice_class_{index}" for index in range(1, 8)), "dice_rest"]
