# SPDX-License-Identifier: Apache-2.0
"""What the terminal shows."""

import io
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from fedxai.records import RunSummary
from fedxai.report.console import print_explanation, print_summary, round_line


def printed(summary: RunSummary, width: int = 100) -> str:
    buffer = io.StringIO()
    print_summary(summary, Path("/runs/a b/report.html"), console=Console(file=buffer, width=width))
    return buffer.getvalue()


def test_round_line_holds_round_sites_loss_metric_e_absence_and_time(summary: RunSummary) -> None:
    line = round_line(summary.rounds[2], 6, 41.0)
    assert line.startswith("round 3/6 · 3 sites · loss 0.539 · metric 0.882 · E 0.24")
    assert line.endswith("(chance 0.084) · missing site-3 · 41 s left")
    assert "\n" not in line


def test_round_without_explanation_says_nothing_of_e(summary: RunSummary) -> None:
    assert round_line(summary.rounds[1], 6, None) == "round 2/6 · 4 sites · loss 0.637 · metric 0.818"


def test_rounds_are_aligned(summary: RunSummary) -> None:
    assert round_line(summary.rounds[1], 20, None).startswith("round  2/20 ")


def test_end_of_run_lists_every_site_and_the_report(summary: RunSummary) -> None:
    text = printed(summary)
    for site in summary.sites:
        assert f"{site.name} " in text
    assert "best model, round 5" in text
    assert "0 of 2,310 case records left a site (P 1.000)" in text
    assert "1 absence" in text
    assert text.endswith("Report: /runs/a b/report.html\n")


def test_path_of_the_report_stays_on_one_line_in_a_narrow_terminal(summary: RunSummary) -> None:
    assert "Report: /runs/a b/report.html\n" in printed(summary, width=20)


def test_markup_in_names_is_only_text(summary: RunSummary) -> None:
    bundle = summary.bundle.model_copy(update={"name": "[red]x[/red]"})
    assert "[red]" in printed(summary.model_copy(update={"bundle": bundle}))


def test_end_of_run_says_whether_the_method_behind_e_is_trusted(summary: RunSummary) -> None:
    assert "E with gradient × input (trust ✓ passed)" in printed(summary)


def test_end_of_run_has_a_line_for_an_alarm_and_for_an_e_won_by_construction(
    summary: RunSummary, with_models: Callable[..., RunSummary]
) -> None:
    alarm = "Shortcut alarm: site-3, glioma, corner 0-4: 0.120 of the relevance, expected 0.021 (adjusted p < 0.0001)"
    assert alarm in printed(summary)
    assert "won by construction" not in printed(summary)
    odd = printed(with_models(by_construction=True, shortcuts=None))
    assert "E is won by construction: best model (round 5)." in odd
    assert "Shortcut alarm" not in odd


def test_an_explanation_lists_every_method_with_chance_and_verdict(summary: RunSummary) -> None:
    buffer = io.StringIO()
    explanation = summary.final[1].explanations["site-1"]
    print_explanation(explanation, Path("/out/a b/index.html"), console=Console(file=buffer, width=120))
    text = buffer.getvalue()
    assert "155 cases of the test split" in text
    for expected in ("0.290", "0.084", "? undecided", "✓ passed", "✕ failed: faithfulness"):
        assert expected in text
    assert text.endswith("This folder never leaves the site: /out/a b/index.html\n")
