# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fedxai.records import Figure, MethodSummary, SiteRound


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_no_figure_ever_writes_nan_or_infinity(value):
    text = Figure(value=value, n=3).model_dump_json()
    assert "NaN" not in text
    assert "Infinity" not in text


def test_figures_are_rounded_so_that_they_cannot_encode_pixels():
    assert Figure(value=0.123456789, n=3).value == 0.1235


@pytest.mark.parametrize("name", ["", "a b", "../x", "patient^name", "x" * 65, "a\nb"])
def test_names_hold_no_free_text(name):
    with pytest.raises(ValidationError):
        MethodSummary(method=name, scored=0, unscored=0, undefined={}, scores={}, chance={})


def test_an_extra_field_is_refused():
    with pytest.raises(ValidationError, match="pixels"):
        SiteRound(name="a", training_loss=0, validation={}, steps=1, seconds=1, pixels=[1, 2])


def test_an_array_in_place_of_a_scalar_is_refused():
    with pytest.raises((ValidationError, TypeError)):
        Figure(value=[0.1, 0.2], n=2)
