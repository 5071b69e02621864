# SPDX-License-Identifier: Apache-2.0
"""What another baseline changes: a row a baseline, for methods with several."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fedxai.explain.baseline import BASELINES
from fedxai.records import MethodSummary, RunSummary
from fedxai.report.baseline_table import BLACK, baseline_table
from fedxai.report.gallery_pages import Entry, gallery_pages
from fedxai.report.run_report import write_report
from fedxai.report.verdict import marked, verdict_of
from fedxai.report.words import BASELINES as OTHERS

Make = Callable[[str, float, int], MethodSummary]


def test_the_baselines_are_those_of_the_methods() -> None:
    assert {BLACK, *OTHERS} == set(BASELINES)


def test_each_baseline_stands_beside_the_first_of_its_method(summary_of: Make) -> None:
    found = {"occlusion": 0.3, "saliency": 0.2, "occlusion_blurred": 0.45, "kernel_shap_mean": 0.5}
    table = baseline_table([summary_of(name, e, 20) for name, e in found.items()])
    assert [(row["method"], row["baseline"], row["e_difference"]) for row in table.rows] == [
        ("Occlusion", "black", None),
        ("Occlusion", "blurred", 0.15),
    ]
    blurred = summary_of("occlusion_blurred", 0.45, 20)
    assert table.rows[1]["e"] == blurred.scores["relevance_mass"]
    assert table.rows[1]["trust"] == marked(verdict_of(blurred)) == "✓ passed"


def test_grad_cam_plus_plus_is_no_baseline_of_grad_cam(summary_of: Make) -> None:
    assert not baseline_table([summary_of(name, 0.3, 9) for name in ("grad_cam", "grad_cam_plus_plus")]).rows


def page(methods: list[str], summary_of: Make) -> str:
    entry = Entry(
        index=0,
        image="",
        label=0,
        predicted=0,
        present=True,
        explained=0,
        probabilities=[1.0],
        scores={method: {"relevance_mass": 0.3} for method in methods},
        chance=0.1,
        planes=[],
    )
    summaries = [summary_of(method, 0.3, 20) for method in methods]
    made = gallery_pages([entry], site="s", seen="1 cases", class_names=["a"], methods=methods, summaries=summaries)
    return made["methods.html"].decode()


def test_the_gallery_shows_it_where_there_are_several(summary_of: Make) -> None:
    shown = page(["occlusion", "occlusion_mean"], summary_of)
    assert "<h2>What another baseline changes</h2>" in shown
    assert "The baseline is what stands for “nothing”" in shown
    assert "What another baseline changes" not in page(["occlusion", "saliency"], summary_of)


@pytest.mark.usefixtures("undrawn")
def test_a_runs_report_shows_it_where_the_run_asked_several(
    summary_of: Make, summary: RunSummary, with_models: Callable[..., RunSummary], tmp_path: Path
) -> None:
    found = {"occlusion": 0.3, "saliency": 0.2, "occlusion_mean": 0.25}
    several = with_models(explanation=[summary_of(name, e, 20).model_dump() for name, e in found.items()])
    text = write_report(several, tmp_path / "several").read_text(encoding="utf-8")
    assert "What another baseline changes" in text
    assert "The baseline is what stands for “nothing”" in text
    table = pd.read_csv(tmp_path / "several" / "tables" / "baselines.csv")
    assert list(table["baseline"]) == ["black", "mean"]
    assert table["e_difference"][1] == -0.05
    alone = write_report(summary, tmp_path / "alone").read_text(encoding="utf-8")
    assert "What another baseline changes" not in alone
    assert not (tmp_path / "alone" / "tables" / "baselines.csv").exists()
