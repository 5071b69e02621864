# SPDX-License-Identifier: Apache-2.0
"""Curves against the round: every site's own values at their rounds, gaps kept, the mean of all beside them."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from matplotlib.figure import Figure as Picture

from fedxai.records import Explanation, Figure, MethodSummary, RoundSummary, RunSummary, SiteRound
from fedxai.report import learning_curves
from fedxai.report.learning_curves import (
    explanation_methods_rounds,
    explanation_rounds,
    learning_loss,
    learning_metric,
)


def method(name: str, e: float, chance: float, n: int) -> MethodSummary:
    return MethodSummary(
        method=name,
        scored=n,
        unscored=0,
        undefined={},
        scores={"relevance_mass": Figure(value=e, n=n), "pointing_game": Figure(value=0.99, n=n)},
        chance={"relevance_mass": Figure(value=chance, n=n)},
    )


def report(
    name: str, loss: float, auc: float, *, e: float | None = None, chance: float = 0.1, n: int = 10
) -> SiteRound:
    methods = [] if e is None else [method("saliency", e / 2, chance, n), method("gradient_x_input", e, chance, n)]
    return SiteRound(
        name=name,
        training_loss=loss + 9,
        validation={"loss": Figure(value=loss, n=n), "macro_auc": Figure(value=auc, n=n)},
        steps=1,
        seconds=1,
        explanation=Explanation(split="validation", cases=n, methods=methods, seconds=1, passes=1) if methods else None,
    )


def part(round_: int, *sites: SiteRound, loss: float, metric: float) -> RoundSummary:
    return RoundSummary(
        round=round_, sites=list(sites), global_loss=loss, selection_metric=metric, update_bytes=1, seconds=1
    )


ROUNDS = [
    part(
        2, report("north", 0.9, 0.5, e=0.2), report("south", 0.7, 0.6, e=0.5, chance=0.3, n=30), loss=0.8, metric=0.55
    ),
    part(3, report("south", 0.6, 0.65), loss=0.61, metric=0.66),
    part(5, report("south", 0.5, 0.7), report("north", 0.4, 0.8, e=0.6), loss=0.45, metric=0.75),
]


@pytest.fixture
def run(changed: Callable[..., RunSummary]) -> RunSummary:
    """Two sites over rounds 2, 3 and 5; north is away in round 3, south does not explain in round 5."""
    return changed(rounds=[part.model_dump() for part in ROUNDS], sites=[], final=[])


@pytest.fixture
def curves(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each picture of curves was given."""
    given: list[dict[str, Any]] = []

    def spy(lines: dict[str, Any], together: dict[int, float], **more: Any) -> bytes:
        given.append({"lines": lines, "together": together, **more})
        return b"drawn"

    monkeypatch.setattr(learning_curves, "_curves", spy)
    return given


def test_the_loss_is_the_validation_loss_of_each_site_and_the_global_loss(
    run: RunSummary, curves: list[dict[str, Any]]
) -> None:
    learning_loss(run)
    assert curves[0]["lines"] == {"north": {2: 0.9, 5: 0.4}, "south": {2: 0.7, 3: 0.6, 5: 0.5}}
    assert curves[0]["together"] == {2: 0.8, 3: 0.61, 5: 0.45}


def test_the_metric_is_that_of_each_site_and_what_selects(run: RunSummary, curves: list[dict[str, Any]]) -> None:
    learning_metric(run)
    assert curves[0]["lines"] == {"north": {2: 0.5, 5: 0.8}, "south": {2: 0.6, 3: 0.65, 5: 0.7}}
    assert curves[0]["together"] == {2: 0.55, 3: 0.66, 5: 0.75}


def test_the_metric_shown_is_the_one_that_selects(
    run: RunSummary, changed: Callable[..., RunSummary], curves: list[dict[str, Any]]
) -> None:
    """Where no site holds every class no site has the usual one."""
    assert run.choice is not None
    choice = {**run.choice.model_dump(), "key_metric": "loss"}
    learning_metric(changed(rounds=[part.model_dump() for part in ROUNDS], sites=[], final=[], choice=choice))
    assert curves[0]["lines"] == {"north": {2: 0.9, 5: 0.4}, "south": {2: 0.7, 3: 0.6, 5: 0.5}}
    assert curves[0]["title"] == "Validation loss"


def test_e_is_the_headline_methods_with_its_chance_and_its_mean_over_cases(
    run: RunSummary, curves: list[dict[str, Any]]
) -> None:
    explanation_rounds(run)
    assert curves[0]["lines"] == {"north": {2: 0.2, 5: 0.6}, "south": {2: 0.5}}
    assert curves[0]["together"] == pytest.approx({2: (10 * 0.2 + 30 * 0.5) / 40, 5: 0.6})
    assert curves[0]["chance"] == pytest.approx({2: (10 * 0.1 + 30 * 0.3) / 40, 5: 0.1})


def test_every_method_has_its_own_e(run: RunSummary, curves: list[dict[str, Any]]) -> None:
    explanation_methods_rounds(run)
    saliency, gradient = curves[0]["lines"].values()
    assert [name.split()[0] for name in curves[0]["lines"]] == ["Saliency", "Gradient"]
    assert saliency == pytest.approx({2: 0.2125, 5: 0.3})
    assert gradient == pytest.approx({2: 0.425, 5: 0.6})
    assert curves[0]["chance"] == pytest.approx({2: 0.25, 5: 0.1})


def test_curves_stand_at_their_rounds_and_a_gap_stays_a_gap(run: RunSummary, drawn: list[Picture]) -> None:
    assert explanation_rounds(run)
    (axes,) = drawn[0].axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == ["north", "south", "chance", "all sites"]
    assert all(list(line.get_xdata()) == [2, 5] for line in lines.values())
    assert list(lines["north"].get_ydata()) == [0.2, 0.6]
    first, second = lines["south"].get_ydata()
    assert first == 0.5
    assert math.isnan(second)
    assert list(lines["all sites"].get_ydata()) == pytest.approx([0.425, 0.6])
    assert list(lines["chance"].get_ydata()) == pytest.approx([0.25, 0.1])
    assert axes.get_xlabel() == "Round"
