# SPDX-License-Identifier: Apache-2.0
"""What another baseline changes: a row a baseline, for methods with several."""

from collections.abc import Callable

from fedxai.explain.baseline import BASELINES
from fedxai.records import MethodSummary
from fedxai.report.baseline_table import BLACK, OTHERS, baseline_table
from fedxai.report.gallery_pages import Entry, gallery_pages

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
    assert table.rows[1]["e"] == summary_of("occlusion_blurred", 0.45, 20).scores["relevance_mass"]


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
    made = gallery_pages([entry], site="s", seen=1, class_names=["a"], methods=methods, summaries=summaries)
    return made["methods.html"].decode()


def test_the_gallery_shows_it_where_there_are_several(summary_of: Make) -> None:
    assert "<h2>What another baseline changes</h2>" in page(["occlusion", "occlusion_mean"], summary_of)
    assert "What another baseline changes" not in page(["occlusion", "saliency"], summary_of)
