# SPDX-License-Identifier: Apache-2.0
"""Tables: the same cells on the page and in CSV."""

import io

import pandas as pd
import pytest
from markupsafe import Markup

from fedxai.records import Figure
from fedxai.report.tables import Cell, Column, Table, show, show_interval

COLUMNS = (Column(key="name", heading="Name"), Column(key="auc", heading="AUC", kind="figure"))


def table(*rows: dict[str, Cell]) -> Table:
    return Table(name="t", title="T", columns=COLUMNS, rows=rows)


def test_figure_becomes_four_columns() -> None:
    csv = table({"name": "a", "auc": Figure(value=0.9, n=7, low=0.8, high=1.0)}).csv().decode()
    assert csv == "name,auc,auc_low,auc_high,auc_n\na,0.9,0.8,1.0,7\n"


def test_undefined_cells_are_empty() -> None:
    csv = table({"name": None, "auc": Figure(value=None, n=0)}, {"name": "b", "auc": None}).csv().decode()
    assert csv.splitlines()[1:] == [",,,,0", "b,,,,"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"])
def test_text_that_a_spreadsheet_would_run_is_tamed(text: str) -> None:
    frame = pd.read_csv(io.BytesIO(table({"name": text, "auc": None}).csv()), dtype=str)
    assert frame["name"][0] == f"'{text}"


def test_missing_key_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        table({"name": "a"}).csv()


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [(0.1, 0.2, "0.100–0.200"), (-0.1, 0.2, "−0.100 to 0.200"), (-0.0002, 0.006, "0.000–0.006")],
)
def test_a_word_stands_between_ends_where_a_minus_is_shown(low: float, high: float, shown: str) -> None:
    assert show_interval(low, high) == shown


def test_figure_shows_its_interval_and_text_is_not_marked_safe() -> None:
    shown = show(Figure(value=0.9541, n=7, low=0.9, high=0.97), "figure")
    assert shown == '0.954 <span class="ci">0.900–0.970</span>'
    assert not isinstance(show("<b>", "text"), Markup)
    assert show(Figure(value=0.9, n=7), "figure") == "0.900"
    assert show(Figure(value=None, n=0), "figure") == "–"
    assert ">−0.100 to 0.200<" in show(Figure(value=0.05, n=7, low=-0.1, high=0.2), "figure")


def test_kinds_are_shown_in_their_units() -> None:
    assert show(1_234_567, "bytes") == "1.23 MB"
    assert show(200.0, "seconds") == "3 min 20 s"
    assert show(12_000, "count") == "12,000"
    assert show(True, "text") == "True"
    assert show(float("nan"), "number") == "–"
