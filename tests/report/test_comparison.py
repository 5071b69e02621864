# SPDX-License-Identifier: Apache-2.0
"""The comparison of the systems, from measured values only."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
from matplotlib.axes import Axes
from PIL import Image

from fedxai.records import Comparison, Figure, Honesty, TrustTest, TrustTestName
from fedxai.report.comparison import write_comparison


def test_folder_holds_page_json_figures_and_tables(comparison: Comparison, tmp_path: Path) -> None:
    assert write_comparison(comparison, tmp_path) == tmp_path / "comparison.html"
    assert Comparison.model_validate(json.loads((tmp_path / "comparison.json").read_text())) == comparison
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"figure_2.png", "figure_3.png"}
    for path in (tmp_path / "figures").iterdir():
        with Image.open(path) as picture:
            picture.verify()
    names = {"systems", "local_sites", "differences", "results", "settings"}
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == names


def test_table_of_systems_equals_a_plain_restatement(comparison: Comparison, tmp_path: Path) -> None:
    write_comparison(comparison, tmp_path)
    systems = pd.read_csv(tmp_path / "tables" / "systems.csv").set_index("system")
    results = pd.read_csv(tmp_path / "tables" / "results.csv")
    means = results.groupby(["system", "seed"])[["macro_auc", "accuracy", "privacy", "e"]].mean()
    means = means.groupby("system").mean()
    for system in means.index:
        for name in means.columns:
            assert systems.loc[system, name] == pytest.approx(means.loc[system, name], abs=1e-4)
    assert list(systems.index) == ["Centralised", "Local only", "Federated", "FedXAI-Med"]
    assert systems.loc["Centralised", "privacy"] == 0.0
    assert systems.loc["FedXAI-Med", "privacy"] == 1.0


def test_local_only_is_also_shown_site_by_site(comparison: Comparison, tmp_path: Path) -> None:
    write_comparison(comparison, tmp_path)
    sites = pd.read_csv(tmp_path / "tables" / "local_sites.csv")
    assert list(sites["site"]) == list(comparison.sites)
    assert list(sites["macro_auc_n"]) == [3, 3, 3, 3]


def test_page_has_no_script_and_no_outside_address(comparison: Comparison, tmp_path: Path) -> None:
    text = write_comparison(comparison, tmp_path).read_text(encoding="utf-8")
    assert "<script" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert text.count("<img ") == 2


def test_the_page_repeats_the_comparison_with_its_settings(comparison: Comparison, tmp_path: Path) -> None:
    settings = {"rounds": 7, "local_steps": 8, "guidance": "relevance"}
    text = write_comparison(comparison.model_copy(update={"settings": settings}), tmp_path).read_text()
    assert "--rounds 7 \\\n    --local-steps 8 \\\n    --guidance relevance \\\n    --out DIR" in text


def test_unequal_steps_are_named(comparison: Comparison, tmp_path: Path) -> None:
    results = [comparison.results[0].model_copy(update={"steps": 599}), *comparison.results[1:]]
    text = write_comparison(comparison.model_copy(update={"results": results}), tmp_path).read_text()
    assert "did not take the same number of steps" in text
    assert "did not take" not in write_comparison(comparison, tmp_path).read_text()


@pytest.mark.parametrize("kept", [(), ("federated",), ("local-only",), ("local-only", "FedXAI-Med")])
def test_any_system_may_be_missing(kept: tuple[str, ...], comparison: Comparison, tmp_path: Path) -> None:
    results = [result for result in comparison.results if result.system in kept]
    write_comparison(comparison.model_copy(update={"results": results}), tmp_path)
    assert (tmp_path / "figures" / "figure_3.png").exists() == bool(kept)
    assert not (tmp_path / "tables" / "differences.csv").exists()


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_are_enough_for_a_page(
    seeds: int, make_comparison: Callable[[int], Comparison], tmp_path: Path
) -> None:
    write_comparison(make_comparison(seeds), tmp_path)
    lows = pd.read_csv(tmp_path / "tables" / "systems.csv")["macro_auc_low"]
    assert lows.isna().all() == (seeds == 1)


def test_without_explanation_interpretability_is_not_measured(comparison: Comparison, tmp_path: Path) -> None:
    results = [result.model_copy(update={"explanation": []}) for result in comparison.results]
    write_comparison(comparison.model_copy(update={"results": results}), tmp_path)
    assert pd.read_csv(tmp_path / "tables" / "systems.csv")["e"].isna().all()


def test_the_headline_methods_verdict_stands_beside_e_in_the_tables_and_the_figure(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, first = [], next(iter(comparison.sites))
    for result in comparison.results:
        outcome = "failed" if (result.system, result.site) == ("local-only", first) else "passed"
        tests = [
            TrustTest(name=name, outcome=outcome, value=Figure(value=0.5, n=8), threshold=0.4)
            for name in get_args(TrustTestName)
        ]
        methods = [part.model_copy(update={"trust": tests}) for part in result.explanation]
        results.append(result.model_copy(update={"explanation": methods if result.system != "federated" else []}))
    texts: list[str] = []
    write = Axes.text
    monkeypatch.setattr(Axes, "text", lambda axes, x, y, s, **how: texts.append(s) or write(axes, x, y, s, **how))
    write_comparison(comparison.model_copy(update={"results": results}), tmp_path)
    systems = pd.read_csv(tmp_path / "tables" / "systems.csv").set_index("system")["trust"]
    assert systems.to_dict() == {
        "Centralised": "✓ passed",
        "Local only": "✕ failed",
        "Federated": "– not run",
        "FedXAI-Med": "✓ passed",
    }
    sites = pd.read_csv(tmp_path / "tables" / "local_sites.csv")["trust"]
    assert list(sites) == ["✕ failed", "✓ passed", "✓ passed", "✓ passed"]
    assert [text[-1] for text in texts[-4:]] == ["✓", "✕", "d", "✓"]  # not measured


def test_a_guided_e_stands_beside_the_battery_and_is_named_where_it_is_won_by_construction(
    comparison: Comparison, tmp_path: Path
) -> None:
    battery = Honesty(cases=20, figures={"swap_kept": Figure(value=0.4, n=20, low=0.3, high=0.5)})
    results = [
        result.model_copy(update={"honesty": battery, "by_construction": result.seed == 1})
        if result.system == "FedXAI-Med"
        else result
        for result in comparison.results
    ]
    page = write_comparison(comparison.model_copy(update={"results": results}), tmp_path).read_text(encoding="utf-8")
    assert "FedXAI-Med's E is won by construction</strong> (seed 1)" in page.replace("&#39;", "'")
    rows = pd.read_csv(tmp_path / "tables" / "honesty.csv")
    assert set(rows["swap_kept"]) == {0.4}
    assert list(rows["by_construction"]) == ["yes" if seed == 1 else "no" for seed in rows["seed"]]
    plain = write_comparison(comparison, tmp_path).read_text(encoding="utf-8")
    assert "won by construction" not in plain
    assert not (tmp_path / "tables" / "honesty.csv").exists()
