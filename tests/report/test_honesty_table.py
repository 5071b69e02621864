# SPDX-License-Identifier: Apache-2.0
"""The honesty battery beside E, and the box that names a model whose E is won by construction."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fedxai.records import RunSummary
from fedxai.report.construction import construction_warnings
from fedxai.report.honesty_table import honesty_meanings, honesty_table
from fedxai.report.run_report import headlines, write_report

pytestmark = pytest.mark.usefixtures("undrawn")

Change = Callable[..., RunSummary]
BOX = "E is won by construction:</strong>"


def test_every_final_model_has_a_row_and_every_figure_its_interval_and_meaning(
    summary: RunSummary, tmp_path: Path
) -> None:
    text = write_report(summary, tmp_path).read_text(encoding="utf-8")
    meanings = honesty_meanings(summary)
    assert len(meanings) == 7
    for heading, meaning in meanings.items():
        assert f"<dt>{heading}</dt><dd>{meaning}</dd>".replace("'", "&#39;") in text
    rows = pd.read_csv(tmp_path / "tables" / "honesty.csv").set_index("model")
    assert list(rows.index) == ["last", "best"]
    honesty = summary.final[1].honesty
    assert honesty is not None
    for name, figure in honesty.figures.items():
        shown = [rows.loc["best", f"{name}{part}"] for part in ("", "_low", "_high", "_n")]
        assert shown == [figure.value, figure.low, figure.high, figure.n]
    assert set(rows["by_construction"]) == {"no"}


@pytest.mark.parametrize(("won", "boxes"), [(True, 2), (False, 0), (None, 0)])
def test_the_box_and_the_headline_name_only_a_model_that_wins_by_construction(
    won: bool | None, boxes: int, with_models: Change, tmp_path: Path
) -> None:
    run = with_models(by_construction=won)
    assert write_report(run, tmp_path).read_text(encoding="utf-8").count(BOX) == boxes
    assert headlines(run)[2].below.endswith("E is won by construction") is bool(boxes)


def test_a_model_that_is_best_and_last_is_warned_of_once(with_models: Change) -> None:
    (warning,) = construction_warnings(with_models(by_construction=True, round=6))
    assert warning.startswith("best model (round 6).")
    assert "by 0.310, with its own mean by 0.220, filling another place by 0.020" in warning


def test_the_warning_says_what_is_left_through_the_soft_path(summary: RunSummary, with_models: Change) -> None:
    honesty = summary.final[1].honesty
    assert honesty is not None
    soft = honesty.model_dump() | {"figures": {**honesty.model_dump()["figures"], "soft_mass": {"value": 0.2, "n": 9}}}
    (warning,) = construction_warnings(with_models(by_construction=True, round=6, honesty=soft))
    assert warning.endswith("Through the soft path of its gate E is 0.200.")


def test_a_model_named_without_figures_is_still_warned_of(with_models: Change) -> None:
    warnings = construction_warnings(with_models(by_construction=True, honesty=None))
    assert warnings == ["best model (round 5).", "last model (round 6)."]


def test_without_a_battery_one_line_says_so(with_models: Change, tmp_path: Path) -> None:
    run = with_models(honesty=None, by_construction=None)
    text = write_report(run, tmp_path).read_text(encoding="utf-8")
    assert "Not measured: no site asked the model about a case with a region." in text
    assert BOX not in text
    assert not honesty_table(run).rows
    assert not (tmp_path / "tables" / "honesty.csv").exists()


def test_the_soft_path_is_a_column_where_a_model_has_a_gate(summary: RunSummary, with_models: Change) -> None:
    honesty = summary.final[1].honesty
    assert honesty is not None
    soft = honesty.model_copy(update={"figures": {**honesty.figures, "soft_mass": honesty.figures["drop_grey"]}})
    assert "soft_mass" not in {column.key for column in honesty_table(summary).columns}
    gated = with_models(honesty=soft)
    assert "E, soft path" in honesty_meanings(gated)
    assert honesty_table(gated).rows[0]["soft_mass"] == honesty.figures["drop_grey"]
