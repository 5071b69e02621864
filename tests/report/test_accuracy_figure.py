# SPDX-License-Identifier: Apache-2.0
"""E against accuracy: one point a site and model, and none where either is unknown."""

import io

from PIL import Image

from fedxai.records import Figure, RunSummary
from fedxai.report.accuracy_figure import _draw, _Point, _points, explanation_accuracy
from fedxai.report.canvas import new_picture


def test_one_point_a_site_and_model_with_the_summarys_figures(summary: RunSummary) -> None:
    best = summary.final[1]
    points = list(_points(best, "gradient_x_input", "accuracy"))
    assert [point.site for point in points] == list(best.evaluations)
    assert points[2].accuracy == best.evaluations["site-3"].metrics["accuracy"]
    assert points[2].e == best.explanations["site-3"].methods[1].scores["relevance_mass"]


def test_a_site_without_one_of_the_figures_has_no_point(summary: RunSummary) -> None:
    run = summary.model_dump()
    del run["final"][1]["explanations"]["site-1"]
    run["final"][1]["evaluations"]["site-2"]["metrics"]["accuracy"]["value"] = None
    partial = RunSummary.model_validate(run)
    assert [point.site for point in _points(partial.final[1], "gradient_x_input", "accuracy")] == ["site-3", "site-4"]


def test_a_point_lies_at_accuracy_and_e_each_interval_along_its_own_axis() -> None:
    accuracy, e = Figure(value=0.8, low=0.7, high=0.9, n=9), Figure(value=0.4, low=0.1, high=0.5, n=9)
    _, (axes,) = new_picture(3, 2)
    _draw(axes, _Point(site="north", which="best", accuracy=accuracy, e=e), "red")
    [dot] = axes.lines
    assert (list(dot.get_xdata()), list(dot.get_ydata())) == ([0.8], [0.4])
    level, upright = [part.get_segments()[0].tolist() for part in axes.collections]
    assert level == [[0.7, 0.4], [0.9, 0.4]]
    assert upright == [[0.8, 0.1], [0.8, 0.5]]


def test_it_is_a_picture_or_nothing(summary: RunSummary) -> None:
    drawn = explanation_accuracy(summary)
    assert drawn is not None
    with Image.open(io.BytesIO(drawn)) as picture:
        picture.verify()
    assert explanation_accuracy(summary.model_copy(update={"final": []})) is None
