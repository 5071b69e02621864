# SPDX-License-Identifier: Apache-2.0
"""A report is written whatever is missing: no model, no explanation, one site, undefined figures."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedxai.records import RunSummary
from fedxai.report.console import print_summary
from fedxai.report.run_report import write_report

Change = Callable[[dict[str, Any]], None]


def no_model(run: dict[str, Any]) -> None:
    run["final"] = []


def only_the_last_model(run: dict[str, Any]) -> None:
    run["final"] = run["final"][:1]


def nothing_at_all(run: dict[str, Any]) -> None:
    run |= {"final": [], "rounds": [], "bytes": [], "sites": [], "settings": {}, "versions": {}, "notes": []}
    run["privacy"] = dict.fromkeys(run["privacy"], 0) | {"score": None, "bytes_ratio": None}
    run["timing"] = dict.fromkeys(run["timing"])


def one_round(run: dict[str, Any]) -> None:
    run["rounds"] = run["rounds"][:1]


def no_round(run: dict[str, Any]) -> None:
    run["rounds"] = []


def one_site(run: dict[str, Any]) -> None:
    run["sites"] = run["sites"][:1]
    for part in run["rounds"]:
        part["sites"], part["missing"] = part["sites"][:1], []
    for model in run["final"]:
        for kind in ("evaluations", "explanations"):
            model[kind] = {"site-1": model[kind]["site-1"]}


def no_explanation(run: dict[str, Any]) -> None:
    for site in run["sites"]:
        site["explanation"] = None
    for part in run["rounds"]:
        for report in part["sites"]:
            report["explanation"] = None
    for model in run["final"]:
        model["explanation"], model["explanations"] = [], {}


def no_region_anywhere(run: dict[str, Any]) -> None:
    _blank(run, {"scores", "chance"})


def every_figure_undefined(run: dict[str, Any]) -> None:
    _blank(run, {"scores", "chance", "metrics", "validation", "figures"})
    run["choice"] |= {"metric": None, "e": None, "metric_by_metric": None, "e_by_metric": None}
    for part in run["rounds"]:
        part |= {"global_loss": None, "selection_metric": None, "seconds": None}
        for report in part["sites"]:
            report |= {"training_loss": None, "seconds": None}


def no_confusion(run: dict[str, Any]) -> None:
    for model in run["final"]:
        model["confusion"] = []
        for evaluation in model["evaluations"].values():
            evaluation["confusion"] = []


def every_cell_held_back(run: dict[str, Any]) -> None:
    for model in run["final"]:
        model["confusion"] = [[None] * 3] * 3


def class_names_that_do_not_fit(run: dict[str, Any]) -> None:
    run["bundle"]["class_names"] = ["only one"]


def site_never_answered(run: dict[str, Any]) -> None:
    for part in run["rounds"]:
        part["sites"] = [report for report in part["sites"] if report["name"] != "site-2"]
        part["missing"] = [{"name": "site-2", "reason": "ended before the round began"}]
    run["sites"][1] |= {"metrics": None, "explanation": None, "outgoing": []}
    for model in run["final"]:
        del model["evaluations"]["site-2"], model["explanations"]["site-2"]


def twelve_sites_with_long_names(run: dict[str, Any]) -> None:
    names = [f"university-hospital-of-a-rather-long-town-name_radiology-dept.{i:02d}" for i in range(12)]
    run["sites"] = [{**run["sites"][i % 4], "name": name} for i, name in enumerate(names)]
    for part in run["rounds"]:
        part["sites"] = [{**part["sites"][i % 3], "name": name} for i, name in enumerate(names)]
        part["missing"] = []
    for model in run["final"]:
        for kind in ("evaluations", "explanations"):
            model[kind] = {name: model[kind][f"site-{i % 4 + 1}"] for i, name in enumerate(names)}


def sixty_rounds(run: dict[str, Any]) -> None:
    run["rounds"] = [{**run["rounds"][i % 6], "round": i + 1} for i in range(60)]


def nothing_asked_of_the_models(run: dict[str, Any]) -> None:
    run["choice"] = None
    for model in run["final"]:
        model |= {"honesty": None, "shortcuts": None, "by_construction": None}


def time_in_another_format(run: dict[str, Any]) -> None:
    run["created"] = "yesterday"


CHANGES = (
    no_model,
    only_the_last_model,
    nothing_at_all,
    one_round,
    no_round,
    one_site,
    no_explanation,
    no_region_anywhere,
    every_figure_undefined,
    no_confusion,
    every_cell_held_back,
    class_names_that_do_not_fit,
    site_never_answered,
    twelve_sites_with_long_names,
    sixty_rounds,
    nothing_asked_of_the_models,
    time_in_another_format,
)


def _blank(value: Any, keys: set[str]) -> None:
    """Take the value out of every figure below these keys."""
    if isinstance(value, list):
        for item in value:
            _blank(item, keys)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in keys and isinstance(item, dict) and "split" not in item:
                value[key] = {name: {"value": None, "n": 0} for name in item}
            else:
                _blank(item, keys)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_report_is_written_with_what_there_is(
    change: Change, summary: RunSummary, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = summary.model_dump()
    change(run)
    partial = RunSummary.model_validate(run)
    page = write_report(partial, tmp_path)
    print_summary(partial, page)
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page.read_text(encoding="utf-8"))
    words = set(re.findall(r"[A-Za-z]+", re.sub(r"<[^>]*>", " ", text)))
    assert not {"nan", "NaN", "inf", "Infinity", "None"} & words
    values = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert RunSummary.model_validate(values) == partial
    for path in (tmp_path / "tables").glob("*.csv"):
        assert "nan" not in path.read_text(encoding="utf-8").lower().replace("ending", "")
    assert str(page) in capsys.readouterr().out.replace("\n", "")


def test_without_explanations_the_page_says_so(summary: RunSummary, tmp_path: Path) -> None:
    run = summary.model_dump()
    no_explanation(run)
    text = write_report(RunSummary.model_validate(run), tmp_path).read_text(encoding="utf-8")
    assert "No site returned an explanation in this run, so E is unknown." in text
    assert not (tmp_path / "figures" / "explanation_methods.png").exists()


def test_without_any_region_the_page_says_that_e_is_undefined(summary: RunSummary, tmp_path: Path) -> None:
    run = summary.model_dump()
    no_region_anywhere(run)
    text = write_report(RunSummary.model_validate(run), tmp_path).read_text(encoding="utf-8")
    assert "E is undefined." in text
    assert not (tmp_path / "figures" / "explanation_sites.png").exists()


def test_without_a_final_model_the_sites_own_figures_stand(summary: RunSummary, tmp_path: Path) -> None:
    run = summary.model_dump()
    no_model(run)
    text = write_report(RunSummary.model_validate(run), tmp_path).read_text(encoding="utf-8")
    assert "ended without a global model" in text
    assert (tmp_path / "figures" / "first_metric_sites.png").exists()
