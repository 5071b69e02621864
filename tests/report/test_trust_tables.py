# SPDX-License-Identifier: Apache-2.0
"""Methods by sites: E is never without its chance level and its verdict; what fails is marked, not hidden."""

from pathlib import Path

import pandas as pd
import pytest

from fedxai.records import RunSummary
from fedxai.report.run_report import headlines, write_report
from fedxai.report.trust_tables import method_grid

pytestmark = pytest.mark.usefixtures("undrawn")


def without_trust(summary: RunSummary) -> RunSummary:
    run = summary.model_dump()
    for model in run["final"]:
        answers = [model["explanation"], *(answer["methods"] for answer in model["explanations"].values())]
        for method in (method for listed in answers for method in listed):
            method["trust"] = []
    return RunSummary.model_validate(run)


def test_every_method_stands_at_every_site_with_e_chance_and_verdict(summary: RunSummary) -> None:
    grid = method_grid(summary)
    assert grid.sites == ["all sites", "site-1", "site-2", "site-3", "site-4"]
    assert list(grid.rows) == ["Saliency", "Gradient × input", "Grad-CAM"]
    cells = [cell for cells in grid.rows.values() for cell in cells if cell is not None]
    assert len(cells) == 15
    assert all(cell.chance == "0.084" for cell in cells)
    assert [cells[0].verdict, cells[5].verdict, cells[10].verdict] == ["undecided", "passed", "failed"]
    assert cells[10].failed == "faithfulness"
    assert grid.failing == ["Grad-CAM"]


def test_a_site_that_lacks_a_method_leaves_its_place_empty(summary: RunSummary) -> None:
    run = summary.model_dump()
    for model in run["final"]:
        model["explanations"]["site-2"]["methods"] = model["explanations"]["site-2"]["methods"][:1]
    grid = method_grid(RunSummary.model_validate(run))
    assert grid.rows["Grad-CAM"][2] is None
    assert grid.rows["Saliency"][2] is not None


def test_page_marks_the_method_that_fails_and_keeps_its_figures(summary: RunSummary, tmp_path: Path) -> None:
    text = write_report(summary, tmp_path).read_text(encoding="utf-8")
    assert "Failed a trust test:</strong> Grad-CAM." in text
    assert text.count("✕ failed: faithfulness") == 5
    assert "0.394" in text
    tests = pd.read_csv(tmp_path / "tables" / "trust.csv")
    assert len(tests) == 3 * 5 * 4
    failed = tests[tests["outcome"] == "failed"]
    assert set(failed["method"]) == {"Grad-CAM"}
    assert set(failed["value"]) == {-0.04}
    sites = pd.read_csv(tmp_path / "tables" / "method_sites.csv")
    assert set(sites["verdict"]) == {"passed", "failed", "undecided"}
    assert sites["chance"].notna().all()


def test_each_sites_e_stands_beside_its_own_verdict(summary: RunSummary, tmp_path: Path) -> None:
    run = summary.model_dump()
    for model in run["final"]:
        answers = model["explanations"]
        [shown] = [method for method in answers["site-2"]["methods"] if method["method"] == "gradient_x_input"]
        shown["trust"][0]["outcome"] = "failed"
        [shown] = [method for method in answers["site-3"]["methods"] if method["method"] == "gradient_x_input"]
        shown["trust"] = []
        del answers["site-4"]
    text = write_report(RunSummary.model_validate(run), tmp_path).read_text(encoding="utf-8")
    sites = pd.read_csv(tmp_path / "tables" / "sites.csv").set_index("site")
    assert list(sites["trust"][:3]) == ["✓ passed", "✕ failed", "– not run"]
    assert pd.isna(sites.loc["site-4", "trust"])
    shown = text.partition("<h3>Site by site")[2].partition("</table>")[0]
    assert ">Trust<" in shown
    assert ">✕ failed<" in shown


def test_without_trust_tests_the_page_says_that_none_ran(summary: RunSummary, tmp_path: Path) -> None:
    text = write_report(without_trust(summary), tmp_path).read_text(encoding="utf-8")
    assert "No trust test ran" in text
    assert "– not run" in text
    assert "Failed a trust test" not in text
    assert not (tmp_path / "tables" / "trust.csv").exists()


@pytest.mark.parametrize(("strip", "expected"), [(False, "trust ✓ passed"), (True, "trust – not run")])
def test_the_headline_of_e_carries_its_verdict(strip: bool, expected: str, summary: RunSummary) -> None:
    e = headlines(without_trust(summary) if strip else summary)[2]
    assert e.below.endswith(expected)
