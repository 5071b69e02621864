# SPDX-License-Identifier: Apache-2.0
"""The run's pictures show the figures of the right site, method and class: what the drawing functions are given."""

from collections.abc import Callable
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from fedxai.records import Evaluation, Explanation, Figure, MethodSummary, RunSummary
from fedxai.report import run_figures
from fedxai.report.canvas import Bar

SITES = ("north", "south")
CONFUSION = [[5, 1], [2, None]]


def method(name: str, e: tuple[float, float, float], chance: float) -> MethodSummary:
    value, low, high = e
    return MethodSummary(
        method=name,
        scored=9,
        unscored=0,
        undefined={},
        scores={"relevance_mass": Figure(value=value, low=low, high=high, n=9)},
        chance={"relevance_mass": Figure(value=chance, low=0.01, high=0.99, n=9)},
    )


def evaluation(auc: float, accuracy: float) -> dict[str, Any]:
    metrics = {
        "macro_auc": Figure(value=auc, low=auc - 0.2, high=auc + 0.1, n=9),
        "accuracy": Figure(value=accuracy, low=accuracy - 0.3, high=accuracy + 0.05, n=9),
    }
    return Evaluation(split="test", cases=9, patients=9, metrics=metrics, confusion=CONFUSION).model_dump()


def explanation(*methods: MethodSummary) -> dict[str, Any]:
    return Explanation(split="test", cases=9, methods=list(methods), seconds=1, passes=1).model_dump()


@pytest.fixture
def run(summary: RunSummary, changed: Callable[..., RunSummary]) -> RunSummary:
    """Two sites."""
    pooled = evaluation(0.7, 0.5)
    saliency = method("saliency", (0.4, 0.3, 0.5), 0.2)
    best = {
        "which": "best",
        "round": 5,
        "metrics": pooled["metrics"],
        "confusion": CONFUSION,
        "explanation": [saliency, method("gradient_x_input", (0.6, 0.45, 0.7), 0.25)],
        "evaluations": {"north": evaluation(0.6, 0.55), "south": evaluation(0.8, 0.65)},
        "explanations": {
            "north": explanation(method("gradient_x_input", (0.35, 0.2, 0.45), 0.15)),
            "south": explanation(saliency, method("gradient_x_input", (0.65, 0.5, 0.75), 0.3)),
        },
    }
    bundle = {**summary.bundle.model_dump(), "class_names": ["a", "b"]}
    return changed(final=[best], sites=[], bundle=bundle)


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch, drawn: list[Picture]) -> list[list[Bar]]:
    """The rows of each interval chart."""
    del drawn
    given: list[list[Bar]] = []

    def spy(axes: Axes, bars: list[Bar], **_: Any) -> None:
        del axes
        given.append(bars)

    monkeypatch.setattr(run_figures, "interval_chart", spy)
    return given


def rows(bars: list[Bar]) -> list[tuple[str, list[float | None], float | None]]:
    """Name, low, value and high, reference; a verdict's mark behind the name left aside."""
    return [(bar.label.rstrip("–✓✕? "), [bar.low, bar.value, bar.high], bar.reference) for bar in bars]


def test_a_metric_is_that_of_all_and_of_each_site_with_its_own_interval(run: RunSummary, bars: list[list[Bar]]) -> None:
    assert run_figures._first_metric_sites(run)
    assert run_figures._second_metric_sites(run)
    model = run.final[0]
    for shown, name in zip(bars, ("macro_auc", "accuracy"), strict=True):
        figures = [metrics[name] for metrics in (model.metrics, *(model.evaluations[s].metrics for s in SITES))]
        expected = [([figure.low, figure.value, figure.high], None) for figure in figures]
        assert rows(shown) == [(site, *row) for site, row in zip(("all sites", *SITES), expected, strict=True)]


def test_e_of_each_method_stands_against_its_own_chance(run: RunSummary, bars: list[list[Bar]]) -> None:
    assert run_figures._explanation_methods(run)
    assert rows(bars[0]) == [("Saliency", [0.3, 0.4, 0.5], 0.2), ("Gradient × input", [0.45, 0.6, 0.7], 0.25)]


def test_e_of_each_site_is_the_headline_methods(run: RunSummary, bars: list[list[Bar]]) -> None:
    assert run_figures._explanation_sites(run)
    assert rows(bars[0]) == [
        ("all sites", [0.45, 0.6, 0.7], 0.25),
        ("north", [0.2, 0.35, 0.45], 0.15),
        ("south", [0.5, 0.65, 0.75], 0.3),
    ]


def test_the_confusion_has_true_classes_in_rows_and_says_what_was_held_back(
    run: RunSummary, drawn: list[Picture]
) -> None:
    assert run_figures._confusion(run)
    (axes,) = drawn[0].axes
    cells = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "5", (0, 1): "1", (1, 0): "2", (1, 1): "*"}
    assert axes.get_xlabel() == "Predicted"
    assert axes.get_ylabel() == "True"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    shares = axes.images[0].get_array()
    assert shares is not None
    assert shares.ravel().tolist() == pytest.approx([5 / 6, 1 / 6, 1.0, 0.0])


def test_bytes_stand_beside_their_kind_and_what_is_held_on_top(run: RunSummary, drawn: list[Picture]) -> None:
    assert run_figures._bytes(run)
    (axes,) = drawn[0].axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    dots = {line.get_ydata()[0]: line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"}
    assert labels[0] == "Held at the sites"
    assert dots[0] == run.privacy.bytes_total
    sent = sorted((part.bytes for part in run.bytes), reverse=True)
    assert [dots[row] for row in range(1, len(labels))] == sent
    assert labels[1] == "Model updates"
