# SPDX-License-Identifier: Apache-2.0
"""How the best model was chosen: the sentence, both rules, their difference."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fedxai.records import Choice, RunSummary
from fedxai.report.choice_table import choice_sentence
from fedxai.report.run_report import write_report

pytestmark = pytest.mark.usefixtures("undrawn")


def changed_choice(summary: RunSummary, **changes: Any) -> Choice:
    assert summary.choice is not None
    return Choice.model_validate({**summary.choice.model_dump(), **changes})


def test_both_rules_stand_with_their_difference(summary: RunSummary, tmp_path: Path) -> None:
    text = write_report(summary, tmp_path).read_text(encoding="utf-8")
    assert "The floor changed macro AUC by −0.004 and E by +0.120." in text
    rows = pd.read_csv(tmp_path / "tables" / "choice.csv")
    assert list(rows["round"]) == [6, 5]
    assert rows["metric_difference"].isna().tolist() == [True, False]
    assert [rows["metric_difference"][1], rows["e_difference"][1]] == [-0.004, 0.12]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"e_floor": None}, "highest validation macro AUC; no floor on E was set."),
        ({"round_by_metric": 5}, "the metric alone would have chosen the same."),
        (
            {"e": 0.1},
            "The E of no model that was validated reached the floor of 0.200, so the last one (round 5) was taken",
        ),
        ({"e": None}, "its E was not known, so the floor of 0.200 was not asked of it"),
        ({"e": None}, "The floor changed macro AUC by −0.004 and E by –."),
    ],
)
def test_the_sentence_says_which_rule_decided(changes: dict[str, Any], expected: str, summary: RunSummary) -> None:
    assert expected in choice_sentence(changed_choice(summary, **changes))


def test_without_a_floor_there_is_only_the_rule_by_the_metric(
    summary: RunSummary, changed: Callable[..., RunSummary], tmp_path: Path
) -> None:
    write_report(changed(choice=changed_choice(summary, e_floor=None).model_dump()), tmp_path)
    assert list(pd.read_csv(tmp_path / "tables" / "choice.csv")["rule"]) == ["by the metric alone"]


def test_a_run_without_a_choice_says_so_in_one_line(changed: Callable[..., RunSummary], tmp_path: Path) -> None:
    text = write_report(changed(choice=None), tmp_path).read_text(encoding="utf-8")
    assert "Not measured: this run recorded no choice between models." in text
    assert not (tmp_path / "tables" / "choice.csv").exists()
