# SPDX-License-Identifier: Apache-2.0
"""Pooled statistics and the proposal against NumPy and scikit-learn on the values of all sites together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from fedxai.combine.statistics import percentile, pooled_cases, pooled_classes, pooled_histogram, proposal
from fedxai.errors import RunError
from fedxai.records import CaseCounts, Figure
from fedxai.records_statistics import BINS, Extent, HistogramBin, SiteStatistics, edge

EDGES = [edge(b) for b in range(BINS + 1)]
_NOTHING = Figure(value=None, n=0)


def told(images: np.ndarray, labels=(0, 1), classes: int = 2, spacing: tuple[float, ...] = ()) -> SiteStatistics:
    """What a site with these images, (cases, values), tells."""
    counts = np.histogram(images, bins=EDGES)[0]
    return SiteStatistics(
        cases=CaseCounts(training=len(images), validation=1, test=2),
        minimum_cell=5,
        classes=np.bincount(labels, minlength=classes).tolist(),
        histogram=[
            HistogramBin(bin=int(b), share=Figure(value=100 * counts[b] / images.size, n=len(images)))
            for b in np.flatnonzero(counts)
        ],
        spacing=[Extent(low=_NOTHING, middle=Figure(value=mm, n=5), high=_NOTHING) for mm in spacing],
        shape=[Extent(low=_NOTHING, middle=Figure(value=4, n=5), high=_NOTHING)] * (len(spacing) or 2),
    )


@pytest.mark.parametrize("kind", ["ct", "bytes", "unit"])
def test_percentiles_are_those_of_all_sites_values_within_a_bin(kind):
    rng = np.random.default_rng(0)
    draw = {
        "ct": lambda n: rng.normal(-200, 400, (n, 5000)),
        "bytes": lambda n: rng.integers(0, 256, (n, 5000)),
        "unit": lambda n: rng.beta(2, 5, (n, 5000)),
    }[kind]
    images = [draw(n) for n in (6, 11, 23)]
    histogram = pooled_histogram(told(part) for part in images)
    together = np.concatenate(images).ravel()
    for percent in (0.5, 5, 50, 95, 99.5):
        expected = np.percentile(together, percent)
        off = 0.017 * abs(expected) + 0.004 * together.std()
        assert percentile(histogram, percent) == pytest.approx(expected, abs=off)


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(5, 30), st.integers(1, 40)), min_size=1, max_size=4), st.integers(0, 2**16))
def test_pooling_sites_is_pooling_their_cases(sizes, seed):
    rng = np.random.default_rng(seed)
    images = [rng.normal(level, 1 + level, (n, 50)) for n, level in sizes]
    pooled = pooled_histogram(told(part) for part in images)
    at_once = told(np.concatenate(images)).histogram
    assert [part.bin for part in pooled] == [part.bin for part in at_once]
    np.testing.assert_allclose(
        [part.share.value for part in pooled], [part.share.value for part in at_once], atol=1.01e-4
    )


def test_class_weights_are_those_of_scikit_learn():
    labels = [np.repeat([0, 1, 2], counts) for counts in ((10, 5, 8), (20, 0, 7), (6, 6, 30))]
    sites = {f"site-{i}": told(np.ones((len(part), 4)), part, 3) for i, part in enumerate(labels)}
    proposed, _ = proposal(sites, task="classification")
    expected = compute_class_weight("balanced", classes=np.arange(3), y=np.concatenate(labels))
    np.testing.assert_allclose(proposed.class_weights, expected, atol=1e-4)
    assert pooled_classes(sites.values()) == [36, 11, 45]
    assert pooled_cases(sites.values()) == CaseCounts(training=92, validation=3, test=6)


def test_a_site_that_held_a_class_back_is_named_and_not_guessed():
    whole, held = told(np.ones((20, 4)), np.repeat([0, 1], 10)), told(np.ones((9, 4)), np.repeat([0, 1], (2, 7)))
    held = held.model_copy(update={"classes": [None, None]})
    proposed, notes = proposal({"a": whole, "b": held}, task="classification")
    assert proposed.class_weights == [1, 1]
    assert "without b" in " ".join(notes)
    proposed, notes = proposal({"b": held}, task="classification")
    assert proposed.class_weights == []
    assert "No class weights" in " ".join(notes)


def test_the_spacing_is_the_median_over_cases():
    middles = {"a": (11, 1.0), "b": (30, 0.8), "c": (15, 3.0)}
    sites = {name: told(np.ones((n, 4)), spacing=(mm, mm, 2 * mm)) for name, (n, mm) in middles.items()}
    by_hand = np.median(np.repeat([mm for _, mm in middles.values()], [n for n, _ in middles.values()]))
    proposed, _ = proposal(sites, task="segmentation")
    assert proposed.pixdim == [by_hand, by_hand, 2 * by_hand]
    assert proposed.class_weights == []


def test_without_a_histogram_no_window_is_made_up():
    silent = told(np.ones((3, 4))).model_copy(update={"histogram": []})
    proposed, notes = proposal({"a": silent}, task="classification")
    assert proposed.window is None
    assert "a." in notes[0]
    with pytest.raises(RunError, match="empty"):
        percentile([], 50)


def test_pictures_and_volumes_are_not_pooled():
    sites = {"a": told(np.ones((9, 4))), "b": told(np.ones((9, 4)), spacing=(1, 1, 1))}
    with pytest.raises(RunError, match="axes"):
        proposal(sites, task="classification")
