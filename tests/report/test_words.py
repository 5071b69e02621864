# SPDX-License-Identifier: Apache-2.0
"""Names and numbers as a reader sees them."""

import math

import pytest

from fedxai.report.words import duration, number, plural, probability, readable_time, short, size, words


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("macro_auc", "Macro AUC"),
        ("chest_xray_pneumonia_classification", "Chest X-ray pneumonia classification"),
        ("brain_mri_tumour_classification", "Brain MRI tumour classification"),
        ("FedXAI-Med", "FedXAI-Med"),
        ("some_new_method", "Some new method"),
        ("kernel_shap_blurred", "KernelSHAP, blurred baseline"),
        ("some_new_mean", "Some new mean"),
        ("_", ""),
    ],
)
def test_names_in_words(name: str, expected: str) -> None:
    assert words(name) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.12345, "0.123"), (-0.5, "−0.500"), (-0.0001, "0.000"), (None, "–"), (math.nan, "–"), (math.inf, "–")],
)
def test_numbers(value: float | None, expected: str) -> None:
    assert number(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.01234, "0.0123"), (0.0, "< 0.0001"), (0.00004, "< 0.0001"), (1.0, "1.0000"), (None, "–")],
)
def test_a_p_is_never_shown_as_zero(value: float | None, expected: str) -> None:
    assert probability(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_960, "10.0 kB"),
        (999_600, "1.00 MB"),
        (31_870_000, "31.9 MB"),
    ],
)
def test_sizes(value: int, expected: str) -> None:
    assert size(value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_long_names_keep_both_ends_and_their_limit() -> None:
    name = "university-hospital-radiology-department.07"
    assert len(short(name, 20)) == 20
    assert short(name, 20).startswith("university")
    assert short(name, 20).endswith(".07")
    assert short("site-1") == "site-1"


def test_one_is_singular() -> None:
    assert [plural(n, "site") for n in (0, 1, 2)] == ["0 sites", "1 site", "2 sites"]


def test_time_is_read_where_it_is_iso() -> None:
    assert readable_time("2026-03-04T15:06:07Z") == "2026-03-04 15:06 UTC"
    assert readable_time("2026-03-04T17:06:07+02:00") == "2026-03-04 15:06 UTC"
    assert readable_time("yesterday") == "yesterday"
