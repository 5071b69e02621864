# SPDX-License-Identifier: Apache-2.0
"""Small cells of data statistics do not leave, and the gate refuses statistics that were tampered with."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedxai.errors import ReleaseError, SettingsError
from fedxai.privacy.schema import recognised
from fedxai.privacy.statistics import released_statistics
from fedxai.records import CaseCounts, Figure
from fedxai.records_statistics import BINS, Extent, HistogramBin, SiteStatistics
from fedxai.settings import ReleasePolicy

COUNTS = CaseCounts(training=20, validation=10, test=10)


def statistics(reached: dict[int, int], classes: list[int], extent: tuple[int, int, int] = (5, 5, 5)) -> SiteStatistics:
    """Statistics whose bins are reached by so many cases, with equal shares."""
    figures = [Figure(value=100 / len(reached), n=n) for n in reached.values()]
    low, middle, high = (Figure(value=1.5, n=n) for n in extent)
    return SiteStatistics(
        cases=COUNTS,
        minimum_cell=5,
        classes=classes,
        histogram=[HistogramBin(bin=b, share=figure) for b, figure in zip(reached, figures, strict=True)],
        spacing=[],
        shape=[Extent(low=low, middle=middle, high=high)] * 2,
    )


@given(
    st.dictionaries(st.integers(0, BINS - 1), st.integers(1, 20), min_size=1, max_size=40),
    st.lists(st.integers(0, 20), min_size=2, max_size=5),
    st.tuples(*[st.integers(0, 20)] * 3),
    st.integers(1, 12),
)
def test_nothing_over_too_few_cases_leaves_and_nothing_is_lost(reached, classes, extent, minimum):
    reached = dict(sorted(reached.items()))
    released = released_statistics(statistics(reached, classes, extent), minimum)
    enough = [b for b, n in reached.items() if n >= minimum]
    assert [part.bin for part in released.histogram] == enough
    assert all(part.share.n == reached[part.bin] for part in released.histogram)
    if enough:
        assert sum(part.share.value for part in released.histogram) == pytest.approx(100, abs=0.02)
    for cell, shown in zip(classes, released.classes, strict=True):
        assert shown is None if 0 < cell < minimum else shown in (cell, None)
    assert released.classes.count(None) != 1, "the others would tell it"
    for n, end in zip(extent, (released.shape[0].low, released.shape[0].middle, released.shape[0].high), strict=True):
        assert (end.value is None) == (n < minimum)


def test_the_brightest_values_of_one_patient_are_counted_to_what_others_reach():
    released = released_statistics(statistics({100: 20, 200: 20, 2000: 1}, [10, 10]), 5)
    assert [(part.bin, part.share.n) for part in released.histogram] == [(100, 20), (200, 20)]
    np.testing.assert_allclose([part.share.value for part in released.histogram], [100 / 3, 200 / 3], atol=1e-3)


def test_with_a_minimum_cell_of_one_everything_leaves():
    whole = statistics({100: 20, 2000: 1}, [19, 1])
    assert released_statistics(whole, 1) == whole.model_copy(update={"minimum_cell": 1})
    with pytest.raises(SettingsError, match="at least 1"):
        released_statistics(whole, 0)


@pytest.fixture
def passes(words, facts):
    def ask(values: dict) -> SiteStatistics:
        return recognised(values, SiteStatistics, words=words, facts=facts, policy=ReleasePolicy())  # pyright: ignore

    return ask


@given(st.dictionaries(st.integers(0, BINS - 1), st.integers(1, 20), min_size=1, max_size=300), st.integers(0, 20))
def test_what_is_released_passes_the_gate_as_it_is(words, facts, reached, first):
    honest = released_statistics(statistics(dict(sorted(reached.items())), [first, 20 - first]), facts.minimum_cell)
    values = honest.model_dump(mode="json")
    assert recognised(values, SiteStatistics, words=words, facts=facts, policy=ReleasePolicy()) == honest


TAMPERED = {
    "a bin over one patient": (lambda s: s["histogram"][0]["share"].update(n=1), "small_cell"),
    "a small class": (lambda s: s.update(classes=[17, 3]), "small_cell"),
    "a class held back alone": (lambda s: s.update(classes=[17, None]), "small_cell"),
    "more cases than there are": (lambda s: s["histogram"][0]["share"].update(n=21), "counts"),
    "more of a class than there are": (lambda s: s.update(classes=[21, 0]), "counts"),
    "a class too many": (lambda s: s.update(classes=[10, 5, 5]), "counts"),
    "counts of another cohort": (lambda s: s["cases"].update(test=11), "counts"),
    "the smallest size of one patient": (lambda s: s["shape"][0]["low"].update(n=1), "small_cell"),
    "pixels as shares": (lambda s: s["histogram"][0]["share"].update(value=77.0), "bounds"),
    "a negative share": (lambda s: s["histogram"][0]["share"].update(value=-50.0), "bounds"),
    "an interval that holds more": (lambda s: s["histogram"][0]["share"].update(low=0.1234, high=9.5), "schema"),
    "a bin that there is not": (lambda s: s["histogram"][1].update(bin=BINS), "schema"),
    "bins out of order": (lambda s: s["histogram"].reverse(), "schema"),
    "a bin without a share": (lambda s: s["histogram"][0]["share"].update(value=None), "schema"),
    "an axis for each pixel": (lambda s: s.update(shape=s["shape"] * 300), "schema"),
    "a file name": (lambda s: s.update(comment="DOE_JANE.dcm"), "schema"),
    "a list of pixels": (lambda s: s["histogram"][0].update(share=[1, 2, 3]), "schema"),
}


@pytest.mark.parametrize("tampering", TAMPERED)
def test_tampered_statistics_are_refused(passes, tampering):
    values = statistics({100: 20, 200: 20}, [10, 10]).model_dump(mode="json")
    assert passes(copy.deepcopy(values))
    spoil, rule = TAMPERED[tampering]
    spoil(values)
    with pytest.raises(ReleaseError) as refused:
        passes(values)
    assert refused.value.rule == rule
    assert "DOE" not in str(refused.value)
