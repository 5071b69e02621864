# SPDX-License-Identifier: Apache-2.0
"""Shortcut alarms: a box each, how many tests there were, and what could not be tested."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fedxai.records import RunSummary
from fedxai.report.run_report import write_report
from fedxai.report.shortcut_report import alarm_boxes, alarm_lines, search_lines

pytestmark = pytest.mark.usefixtures("undrawn")

Change = Callable[..., RunSummary]
BOX = "<strong>Shortcut alarm:"


def test_an_alarm_has_a_box_with_its_sentence_and_how_sure_it_is(summary: RunSummary, tmp_path: Path) -> None:
    text = write_report(summary, tmp_path).read_text(encoding="utf-8")
    assert text.count(BOX) == 1
    assert "Shortcut alarm: site-3, glioma, corner 0-4.</strong> site-3 has 12.0% of the relevance" in text
    assert "over 40 cases, expected 0.021; p &lt; 0.0001, adjusted for 204 tests." in text
    assert "1 shortcut alarm:</strong>" in text
    assert (
        "<li>site-4, meningioma: not enough cases told, of it or of another class, to look for a shortcut.</li>" in text
    )
    (row,) = pd.read_csv(tmp_path / "tables" / "shortcuts.csv").to_dict("records")
    assert [row["model"], row["class"], row["place"], row["share"]] == ["best", "glioma", "corner 0-4", 0.12]


def test_each_model_says_how_many_alarms_in_how_many_tests(summary: RunSummary) -> None:
    assert search_lines(summary) == [
        "Best model (round 5): 1 alarm in 204 tests.",
        "Last model (round 6): no alarm in 204 tests.",
    ]


def test_without_an_alarm_there_is_no_box_and_no_table(with_models: Change, tmp_path: Path) -> None:
    quiet = with_models(shortcuts={"alarms": [], "tests": 96, "notes": []})
    text = write_report(quiet, tmp_path).read_text(encoding="utf-8")
    assert "Best model (round 5): no alarm in 96 tests." in text
    assert "hortcut alarm:" not in text
    assert "What could not be tested" not in text
    assert not (tmp_path / "tables" / "shortcuts.csv").exists()
    assert alarm_lines(quiet) == []


def test_no_test_is_not_said_to_be_no_alarm(with_models: Change) -> None:
    nothing = with_models(shortcuts={"alarms": [], "tests": 0, "notes": ["not enough cases"]})
    assert search_lines(nothing)[0] == "Best model (round 5): nothing could be tested."


def test_a_run_that_was_not_searched_says_so_in_one_line(with_models: Change, tmp_path: Path) -> None:
    text = write_report(with_models(shortcuts=None), tmp_path).read_text(encoding="utf-8")
    assert "Not measured: no site said where the relevance lies." in text
    assert BOX not in text


def test_a_sentence_and_a_class_with_markup_are_only_text(summary: RunSummary, tmp_path: Path) -> None:
    run = summary.model_dump()
    run["bundle"]["class_names"][1] = "<b>glioma</b>"
    run["final"][1]["shortcuts"]["alarms"][0]["advice"] = "<script>alert(1)</script>"
    text = write_report(RunSummary.model_validate(run), tmp_path).read_text(encoding="utf-8")
    assert "<script" not in text
    assert "site-3, &lt;b&gt;glioma&lt;/b&gt;, corner 0-4.</strong> &lt;script&gt;" in text


def test_a_class_without_a_name_is_shown_by_its_index(summary: RunSummary) -> None:
    run = summary.model_dump()
    run["bundle"]["class_names"] = ["only one"]
    assert alarm_boxes(RunSummary.model_validate(run))[0].where == "site-3, class 1, corner 0-4"
