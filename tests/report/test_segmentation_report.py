# SPDX-License-Identifier: Apache-2.0
"""A segmentation run is read by Dice and HD95, class by class, and shows nothing of classifiers."""

import io
import math

import pandas as pd
import pytest
from rich.console import Console

from fedxai.records import Comparison, RunSummary
from fedxai.report.comparison import write_comparison
from fedxai.report.console import print_summary
from fedxai.report.measures import CLASSIFICATION, comparison_measures, is_length, run_measures
from fedxai.report.run_report import write_report
from fedxai.report.verdict import verdict_of
from fedxai.report.words import in_a_sentence, words

DICE = {
    "loss": 0.2,
    "mean_dice": 0.86,
    "dice_anterior": 0.87,
    "dice_posterior": 0.85,
    "mean_hd95": 2.4,
    "hd95_anterior": 2.2,
    "hd95_posterior": 2.6,
}


def metrics(n=12, lift=0.0):
    return {
        name: {"value": value + lift, "n": n, "low": value - 0.05, "high": value + 0.05} for name, value in DICE.items()
    }


def by_class(methods):
    return [{"class_index": index, "methods": methods} for index in (1, 2)]


def as_segmentation(run):
    """The figures of a classification's summary replaced by those of a segmentation."""
    run["bundle"]["class_names"] = ["background", "anterior", "posterior"]
    run["choice"]["key_metric"] = "mean_dice"
    for part in run["rounds"]:
        for site in part["sites"]:
            site["validation"] = metrics()
    for model in run["final"]:
        model.update(metrics=metrics(48), confusion=[], honesty=None, shortcuts=None)
        model["classes"] = by_class(model["explanation"])
        for lift, evaluation in enumerate(model["evaluations"].values()):
            evaluation.update(metrics=metrics(lift=0.01 * lift), confusion=[])
        for explanation in model["explanations"].values():
            explanation.update(classes=by_class(explanation["methods"]), honesty=None, places=[])
    for site in run["sites"]:
        site["metrics"], site["explanation"] = None, None
    return RunSummary.model_validate(run)


@pytest.fixture
def segmented(summary):
    return as_segmentation(summary.model_dump())


def test_a_run_is_read_by_the_figures_that_it_has(summary, segmented):
    assert run_measures(summary) == CLASSIFICATION
    measures = run_measures(segmented)
    assert (measures.first, measures.second) == ("mean_dice", "mean_hd95")
    assert measures.in_brief == ("mean_dice", "dice_anterior", "dice_posterior", "mean_hd95")
    assert is_length("hd95_anterior")
    assert not is_length("mean_dice")


def test_names_of_segmentation_figures_in_words():
    assert words("mean_hd95") == "Mean HD95, mm"
    assert words("hd95_anterior") == "HD95 anterior, mm"
    assert words("dice_anterior") == "Dice anterior"
    assert in_a_sentence("mean_dice") == "mean Dice"
    assert in_a_sentence("ece") == "calibration error"


def test_the_page_leads_with_dice_and_has_every_class(segmented, tmp_path):
    page = write_report(segmented, tmp_path).read_text()
    for text in (
        "Mean Dice",
        "0.860",
        "Mean HD95, mm",
        "2.400",
        "anterior",
        "posterior",
        "class by class",
        "pairs of case and class",
    ):
        assert text in page
    for text in ("Macro AUC", "Accuracy of each site", "Confusion matrix over all sites"):
        assert text not in page
    figures = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert {"learning_metric", "first_metric_sites", "second_metric_sites", "explanation_accuracy"} <= figures
    assert not {"confusion", "confusion_sites"} & figures
    assert not (tmp_path / "tables" / "confusion.csv").exists()


def test_the_tables_hold_the_figures_of_the_classes(segmented, tmp_path):
    write_report(segmented, tmp_path)
    models = pd.read_csv(tmp_path / "tables" / "models.csv")
    assert list(models["dice_posterior"]) == [0.85, 0.85]
    assert list(models["hd95_posterior"]) == [2.6, 2.6]
    classes = pd.read_csv(tmp_path / "tables" / "classes.csv")
    together = classes[classes["site"] == "all sites"]
    assert len(together) == 2 * len(segmented.final[1].explanation)
    assert set(together["class"]) == {"anterior", "posterior"}
    assert set(together["trust"]) == set(map(verdict_of, segmented.final[1].explanation))
    assert classes["e"].iloc[0] == segmented.final[1].explanation[0].scores["relevance_mass"].value


def test_the_terminal_says_dice(segmented, tmp_path):
    terminal = Console(file=io.StringIO(), width=120)
    print_summary(segmented, tmp_path / "report.html", console=terminal)
    assert "Mean Dice" in terminal.file.getvalue()
    assert "Macro AUC" not in terminal.file.getvalue()


def test_a_comparison_of_three_seeds_lets_hd95_exceed_one(make_comparison, tmp_path):
    compared = make_comparison(3).model_dump()
    compared["bundle"]["class_names"] = ["background", "anterior", "posterior"]
    for place, result in enumerate(compared["results"]):
        result.update(metrics=metrics(40, lift=0.001 * place), classes=by_class(result["explanation"]))
    comparison = Comparison.model_validate(compared)
    assert comparison_measures(comparison).first == "mean_dice"
    page = write_comparison(comparison, tmp_path).read_text()
    assert "Macro AUC" not in page
    systems = pd.read_csv(tmp_path / "tables" / "systems.csv")
    assert (systems["mean_hd95_high"] > 1).all()
    assert (systems["mean_dice_high"] <= 1).all()
    classes = pd.read_csv(tmp_path / "tables" / "classes.csv")
    assert set(classes["class"]) == {"anterior", "posterior"}
    assert not math.isnan(classes["e"].iloc[0])
    systems = systems.set_index("system")["trust"]
    for row in classes.itertuples():
        if row.method == words("gradient_x_input"):
            assert row.trust == systems[row.system] != "– not run"
