# SPDX-License-Identifier: Apache-2.0
"""The interval chart draws each row's own value, interval and reference, from top to bottom."""

import pytest
from matplotlib.axes import Axes

from fedxai.report.canvas import Bar, fit_x, interval_chart, new_picture

BARS = [
    Bar(label="all sites", value=0.6, low=0.5, high=0.65, reference=0.1),
    Bar(label="north", value=0.3, low=0.2),
    Bar(label="south", value=None, reference=0.25),
]


@pytest.fixture
def axes() -> Axes:
    _, (axes,) = new_picture(3, 2)
    interval_chart(axes, BARS, colours=["red", "blue", "green"])
    return axes


def drawn(axes: Axes) -> list[tuple[list[float], list[float], str, str]]:
    return [
        (list(line.get_xdata()), list(line.get_ydata()), line.get_marker(), line.get_color()) for line in axes.lines
    ]


def test_each_row_has_its_interval_its_reference_and_its_dot(axes: Axes) -> None:
    first = [([0.5, 0.65], [0, 0], "None", "red"), ([0.1], [0], "|"), ([0.6], [0], "o", "red")]
    rest = [([0.3], [1], "o", "blue"), ([0.25], [2], "|")]
    for line, expected in zip(drawn(axes), [*first, *rest], strict=True):
        assert line[: len(expected)] == expected


def test_names_and_figures_stand_at_their_rows_the_first_on_top(axes: Axes) -> None:
    assert [label.get_text() for label in axes.get_yticklabels()] == ["all sites", "north", "south"]
    assert [(text.get_text(), text.get_position()[1]) for text in axes.texts] == [
        ("0.600", 0),
        ("0.300", 1),
        ("undefined", 2),
    ]
    bottom, top = axes.get_ylim()
    assert top < 0
    assert bottom > 2


def test_the_range_holds_all_that_is_drawn_and_stays_readable_where_values_are_alike() -> None:
    _, (axes,) = new_picture(3, 2)
    fit_x(axes, BARS)
    low, high = axes.get_xlim()
    assert 0 < low < 0.1
    assert 0.65 < high < 0.75
    fit_x(axes, [Bar(label="", value=0.9), Bar(label="", value=0.91)])
    low, high = axes.get_xlim()
    assert low == pytest.approx(0.802)
    assert high == pytest.approx(0.918)
