# SPDX-License-Identifier: Apache-2.0
"""The change of E and accuracy is taken between the right figures of two runs of one bundle."""

import json

import pytest
from typer.testing import CliRunner

from fedxai.errors import RunError
from fedxai.label.change import ALL, changes, read_run
from fedxai.records import (
    BundleIdentity,
    CaseCounts,
    Evaluation,
    Explanation,
    Figure,
    Holding,
    MethodSummary,
    ModelSummary,
    PrivacyScore,
    RunSummary,
    SiteSummary,
    Timing,
)


def run(accuracy: float, e: float | None, bundle="brain_mri_tumor_classification") -> RunSummary:
    figure = Figure(value=accuracy, n=40)
    method = MethodSummary(
        method="gradient_x_input",
        scored=30,
        unscored=10,
        undefined={},
        scores={"relevance_mass": Figure(value=e, n=30)},
        chance={"relevance_mass": Figure(value=0.06, n=30)},
    )
    evaluation = Evaluation(split="test", cases=40, patients=20, metrics={"accuracy": figure})
    explanation = Explanation(split="test", cases=40, methods=[method], seconds=1, passes=40)
    model = ModelSummary(
        which="best",
        round=2,
        metrics={"accuracy": figure},
        confusion=[],
        explanation=[method],
        evaluations={"site-1": evaluation},
        explanations={"site-1": explanation},
    )
    counts = CaseCounts(training=1, validation=1, test=1)
    holding = Holding(case_records=3, bytes=3)
    privacy = dict.fromkeys(PrivacyScore.model_fields, 0)
    return RunSummary(
        job="fedxai",
        created="2026-01-01",
        versions={},
        settings={},
        bundle=BundleIdentity(name=bundle, version="1", digest="a" * 64, class_names=["a", "b"]),
        sites=[SiteSummary(name="site-1", cases=counts, metrics=None, explanation=None, holding=holding)],
        rounds=[],
        final=[model],
        bytes=[],
        privacy=PrivacyScore(**privacy),
        timing=Timing(total=1, training=1, explaining=0),
    )


def test_every_figure_is_compared_with_itself():
    found = {(row.where, row.figure): row for row in changes(run(0.7, 0.2), run(0.75, 0.35))}
    assert set(found) == {(where, name) for where in (ALL, "site-1") for name in ("accuracy", "E", "chance of E")}
    assert found["site-1", "E"].difference == pytest.approx(0.15)
    assert found[ALL, "accuracy"].difference == pytest.approx(0.05)
    assert found[ALL, "chance of E"].difference == 0


def test_what_is_not_defined_has_no_difference():
    [row] = [row for row in changes(run(0.7, None), run(0.7, 0.3)) if (row.where, row.figure) == (ALL, "E")]
    assert row.difference is None


def test_runs_of_different_bundles_are_not_compared():
    with pytest.raises(RunError, match="different bundles"):
        changes(run(0.7, 0.2), run(0.7, 0.2, bundle="chest_xray_pneumonia_classification"))


def test_the_command_reads_the_runs_folders(tmp_path):
    from fedxai.cli import app

    for name, e in (("before", 0.2), ("after", 0.4)):
        home = tmp_path / name / "server" / "simulate_job" / "fedxai"
        home.mkdir(parents=True)
        (home / "summary.json").write_text(json.dumps(run(0.7, e).model_dump(mode="json")))
    told = CliRunner().invoke(app, ["label", "change", str(tmp_path / "before"), str(tmp_path / "after")])
    assert told.exit_code == 0, told.output
    assert "+0.200" in told.output
    with pytest.raises(RunError, match=r"summary\.json"):
        read_run(tmp_path)
