# SPDX-License-Identifier: Apache-2.0
"""The trust verdict: one failure fails, all four must pass, nothing run is said to be nothing run."""

from collections.abc import Callable

import pytest

from fedxai.records import Figure, RunSummary, TrustTest
from fedxai.report import accuracy_figure, learning_curves, run_figures
from fedxai.report.verdict import MARKS, Verdict, failed_tests, marked, verdict, verdict_of, verdict_over

NAMES = ("randomisation", "faithfulness", "robustness", "localisation")


def made_tests(*outcomes: str) -> list[TrustTest]:
    value = Figure(value=0.5, n=8).model_dump()
    return [
        TrustTest.model_validate({"name": name, "outcome": outcome, "value": value, "threshold": 0.4})
        for name, outcome in zip(NAMES, outcomes, strict=False)
    ]


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (("passed",) * 4, "passed"),
        (("passed", "failed", "undecided", "passed"), "failed"),
        (("passed", "passed", "undecided", "passed"), "undecided"),
        (("passed", "passed", "passed"), "undecided"),
        ((), "not run"),
    ],
)
def test_one_failure_fails_and_only_four_passes_pass(outcomes: tuple[str, ...], expected: str) -> None:
    assert verdict(made_tests(*outcomes)) == expected


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (("passed", "passed"), "passed"),
        (("passed", "undecided"), "undecided"),
        (("passed", "not run"), "undecided"),
        (("passed", "undecided", "failed"), "failed"),
        (("not run", "not run"), "not run"),
        ((), "not run"),
    ],
)
def test_over_several_models_one_failure_fails_and_all_must_pass(verdicts: tuple[Verdict, ...], expected: str) -> None:
    assert verdict_over(verdicts) == expected


def test_a_site_without_the_method_ran_nothing() -> None:
    assert verdict_of(None) == "not run"


def test_the_failed_tests_are_named_in_order() -> None:
    assert failed_tests(made_tests("failed", "passed", "failed", "undecided")) == ["randomisation", "robustness"]


def test_the_verdict_has_a_mark_and_a_word() -> None:
    assert marked("failed") == "✕ failed"


@pytest.mark.parametrize(
    ("module", "draw"),
    [
        ("run_figures", run_figures._explanation_sites),
        ("learning_curves", learning_curves.explanation_rounds),
        ("accuracy_figure", accuracy_figure.explanation_accuracy),
    ],
)
def test_every_picture_of_one_methods_e_carries_its_mark(
    module: str, draw: Callable[[RunSummary], bytes | None], summary: RunSummary, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = []
    monkeypatch.setattr(f"fedxai.report.{module}.dress", lambda axes, **asked: titles.append(asked["title"]))
    method = next(m for m in summary.final[1].explanation if m.method == "gradient_x_input")
    assert draw(summary)
    assert verdict_of(method) != "not run"
    assert [title.rpartition(" ")[2] for title in titles] == [MARKS[verdict_of(method)]]
