# SPDX-License-Identifier: Apache-2.0
"""Figure 2 and 3 show each system's own figures: what the drawing functions are given."""

from collections.abc import Callable
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from fedxai.records import Comparison
from fedxai.report import comparison_figures
from fedxai.report.canvas import Bar


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> list[Picture]:
    kept: list[Picture] = []
    monkeypatch.setattr(comparison_figures, "png", lambda picture: kept.append(picture) or b"drawn")
    return kept


@pytest.fixture
def two_seeds(make_comparison: Callable[[int], Comparison]) -> Comparison:
    return make_comparison(2)


def per_seed(comparison: Comparison, system: str, read: Callable[[Any], float]) -> list[float]:
    """The mean over a system's models of each seed, by a plain loop."""
    values = []
    for seed in (0, 1):
        found = [read(result) for result in comparison.results if (result.system, result.seed) == (system, seed)]
        values.append(sum(found) / len(found))
    return values


@pytest.mark.usefixtures("pictures")
def test_figure_2_has_each_systems_metrics_between_the_smaller_and_the_larger_seed(
    two_seeds: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    panels: list[tuple[list[float], list[Bar]]] = []

    def spy(axes: Axes, bars: list[Bar], **_: Any) -> None:
        alone = [float(x) for line in axes.lines for x in line.get_xdata()]
        panels.append((alone, bars))

    monkeypatch.setattr(comparison_figures, "interval_chart", spy)
    comparison_figures._diagnosis(two_seeds)
    for name, (alone, bars) in zip(("macro_auc", "accuracy"), panels, strict=True):
        assert [bar.label for bar in bars] == ["Centralised", "Local only", "Federated", "FedXAI-Med"]
        for system, bar in zip(("centralised", "local-only", "federated", "FedXAI-Med"), bars, strict=True):
            values = per_seed(two_seeds, system, lambda result, name=name: result.metrics[name].value)
            assert [bar.low, bar.value, bar.high] == pytest.approx(
                [min(values), sum(values) / 2, max(values)], abs=1e-4
            )
        local = [result for result in two_seeds.results if result.system == "local-only"]
        sites = [[r.metrics[name].value for r in local if r.site == site] for site in two_seeds.sites]
        assert alone == pytest.approx([sum(values) / 2 for values in sites], abs=1e-4)


def test_figure_3_has_accuracy_privacy_and_e_with_its_chance(two_seeds: Comparison, pictures: list[Picture]) -> None:
    comparison_figures._three_sides(two_seeds)
    accuracy, privacy, e = ([bar.get_width() for bar in axes.patches] for axes in pictures[0].axes)
    systems = ("centralised", "local-only", "federated", "FedXAI-Med")

    def means(read: Callable[[Any], float]) -> list[float]:
        return [sum(per_seed(two_seeds, system, read)) / 2 for system in systems]

    assert accuracy == pytest.approx(means(lambda result: result.metrics["macro_auc"].value), abs=1e-4)
    assert privacy == pytest.approx([0.0, 1.0, 1.0, 1.0])
    assert e == pytest.approx(means(lambda result: result.explanation[1].scores["relevance_mass"].value), abs=1e-4)
    ticks = [line.get_xdata()[0] for line in pictures[0].axes[2].lines if line.get_marker() == "|"]
    assert ticks == pytest.approx([0.084] * 8)
