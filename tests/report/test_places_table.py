# SPDX-License-Identifier: Apache-2.0
"""Where the relevance lies: a row a site and class, pieces of a kind added up with their intervals."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fedxai.records import Figure, RunSummary
from fedxai.report.places_table import places_table
from fedxai.report.run_report import write_report

pytestmark = pytest.mark.usefixtures("undrawn")

SHARES = {"region": 0.5, "ring": 0.2, "corner_0_0": 0.05, "corner_0_4": 0.05, "border_0_1": 0.1, "rest": 0.1}


def looked(shares: dict[str, float | None]) -> dict:
    figures = {
        name: {"value": value, "n": 40} | ({"low": value - 0.01, "high": value + 0.01} if value is not None else {})
        for name, value in shares.items()
    }
    place = {"class_index": 1, "n": 40, "patients": 30, "undefined": 2, "shares": figures}
    return place | {"chance": {"region": {"value": 0.02, "n": 40}}}


def with_places(summary: RunSummary, shares: dict[str, float | None]) -> RunSummary:
    run = summary.model_dump()
    run["final"][1]["explanations"]["site-2"]["places"] = [looked(shares)]
    return RunSummary.model_validate(run)


def test_a_site_and_class_has_its_shares_with_n_and_intervals(summary: RunSummary, tmp_path: Path) -> None:
    text = write_report(with_places(summary, SHARES), tmp_path).read_text(encoding="utf-8")
    assert "Where the relevance lies, site by site and class by class" in text
    (row,) = pd.read_csv(tmp_path / "tables" / "places.csv").to_dict("records")
    assert [row[key] for key in ("site", "class", "cases", "patients", "undefined")] == ["site-2", "glioma", 40, 30, 2]
    assert [row["region"], row["region_low"], row["region_n"], row["chance"]] == [0.5, 0.49, 40, 0.02]


def test_pieces_add_up_and_so_do_their_half_widths(summary: RunSummary) -> None:
    (row,) = places_table(with_places(summary, SHARES)).rows
    assert row["corner"] == Figure(value=0.1, n=40, low=0.08, high=0.12)


def test_a_piece_that_was_held_back_leaves_no_sum(summary: RunSummary) -> None:
    (row,) = places_table(with_places(summary, {**SHARES, "corner_0_4": None})).rows
    assert row["corner"] is None
    assert row["border"] == Figure(value=0.1, n=40, low=0.09, high=0.11)


def test_where_no_site_was_searched_there_is_no_table(changed: Callable[..., RunSummary]) -> None:
    assert not places_table(changed(final=[], sites=[])).rows
