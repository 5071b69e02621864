# SPDX-License-Identifier: Apache-2.0
"""The segmentation job: the main job's executors, another configuration, volumes through FLARE's simulator."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedxai.bundle import Bundle
from fedxai.bundle.approval import approve, list_for
from fedxai.cli import app
from fedxai.flare.comparison import SystemsComparison
from fedxai.flare.simulate import run_job
from fedxai.intake.phantom_3d import make_phantom_3d_sites
from fedxai.records import RunSummary
from fedxai.settings import BUNDLES_VARIABLE, ExplainSettings, TrainSettings

CONFIGS = ("config_fed_server.json", "config_fed_client.json")
KINDS = ("dice", "hd95")
METRICS = {
    "loss",
    "mean_dice",
    "mean_hd95",
    *(f"{kind}_{name}" for kind in KINDS for name in ("anterior", "posterior")),
}


@pytest.fixture(scope="module")
def job(repository) -> Path:
    return repository / "jobs" / "fedxai_3d_segmentation"


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory) -> Path:
    """Two sites with slices of 1 and 3 mm; the smallest that leave no figure below the minimum cell."""
    root = tmp_path_factory.mktemp("volumes") / "cohorts"
    make_phantom_3d_sites(root, task="segmentation", sites=2, cases=36)
    return root


@pytest.fixture(scope="module")
def light_bundle(repository, tmp_path_factory):
    """The job's bundle with a network that learns in seconds what the phantom asks for, approved beside itself."""
    folder = tmp_path_factory.mktemp("bundles") / "hippocampus_mri_segmentation"
    shutil.copytree(repository / "bundles" / folder.name, folder)
    path = folder / "configs" / "train.json"
    config = json.loads(path.read_text())
    config["network_def"].update(strides=[2, 2, 2], num_res_units=0)
    path.write_text(json.dumps(config))
    inspection = Bundle.open(folder).inspection
    approve(inspection, list_for(inspection, None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(BUNDLES_VARIABLE, str(folder.parent))
        yield folder


@pytest.fixture(scope="module")
def results(job, cohorts, explaining, tmp_path_factory, light_bundle) -> Path:
    """A run of the job with its costly questions switched on, for one case of each class and site."""
    folder = tmp_path_factory.mktemp("run")
    return run_job(
        explaining(job, folder, trust_cases=1, honesty_cases=1),
        out=folder / "run",
        cohorts=cohorts,
        settings={"num_rounds": 2, "explain_every": 1},
        train={"local_epochs": 2},
    )


@pytest.fixture(scope="module")
def summary(results) -> RunSummary:
    return RunSummary.model_validate_json((results / "summary.json").read_text())


@pytest.mark.parametrize("side", CONFIGS)
def test_the_job_runs_the_main_jobs_components(repository, job, side):
    """Whatever the main job learns to do this one does too: only values differ, never what runs."""

    def paths(value):
        if isinstance(value, list | dict):
            for part in value.values() if isinstance(value, dict) else value:
                yield from paths(part)
        if isinstance(value, dict) and "path" in value:
            yield value["path"]

    main, ours = (json.loads((home / "app/config" / side).read_text()) for home in (repository / "jobs/fedxai", job))
    assert list(paths(main)) == list(paths(ours))
    assert main.keys() == ours.keys()
    assert not list(job.rglob("*.py"))


@pytest.mark.slow
def test_the_model_is_measured_by_dice_and_surface_distance(summary):
    best = next(model for model in summary.final if model.which == "best")
    assert set(best.metrics) == METRICS
    assert all(figure.value is not None for figure in best.metrics.values())
    assert best.metrics["mean_dice"].n == sum(site.cases.test for site in summary.sites)
    assert best.metrics["mean_dice"].low < best.metrics["mean_dice"].value < best.metrics["mean_dice"].high
    assert best.confusion == []
    assert summary.choice.key_metric == "mean_dice"
    assert summary.rounds[1].selection_metric > summary.rounds[0].selection_metric + 0.02


@pytest.mark.slow
def test_both_classes_are_explained_at_every_site(summary):
    best = next(model for model in summary.final if model.which == "best")
    assert [part.class_index for part in best.classes] == [1, 2]
    for part in best.classes:
        named = {method.method: method for method in part.methods}
        for name in ("gradient_x_input", "grad_cam"):
            assert named[name].scored == sum(site.cases.test for site in summary.sites)
            assert 0 < named[name].chance["relevance_mass"].value < 0.1
            assert {"relevance_mass", "pointing_game"} <= named[name].scores.keys()
    for explanation in best.explanations.values():
        assert explanation.cases == 9
        assert len(explanation.classes) == 2


@pytest.mark.slow
def test_each_class_is_tested_and_what_rests_on_one_case_stays_in_the_site(summary):
    best = next(model for model in summary.final if model.which == "best")
    assert best.honesty is not None
    assert best.honesty.cases == 4, "a case of two classes at two sites"
    for part in best.classes:
        assert part.honesty is not None
        assert part.honesty.cases == 2
        assert {"occlusion_mass", "drop_region"} <= part.honesty.figures.keys()
        assert all(figure.value is None for figure in part.honesty.figures.values())
        for method in part.methods:
            costly = [test for test in method.trust if test.name != "localisation"]  # that one rests on all cases
            assert [test.outcome for test in costly] == ["undecided"] * 3
            assert all(test.value.value is None for test in costly)


@pytest.mark.slow
def test_the_report_speaks_of_dice(results):
    page = (results / "report.html").read_text()
    assert "Mean Dice" in page
    assert "Macro AUC" not in page
    assert (results / "tables" / "classes.csv").is_file()


@pytest.mark.slow
def test_the_runs_model_is_explained_at_the_site(results, cohorts, tmp_path):
    asked = ["explain", str(results), str(cohorts / "site-2"), "--cases", "2", "--trust-cases", "0"]
    done = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "anterior: Grad-CAM" in done.output
    lines = (tmp_path / "out" / "scores.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 2 * 3, "a line a case, class and method"


@pytest.mark.slow
def test_the_comparison_chooses_and_explains_by_the_same_rules(job, cohorts, tmp_path, light_bundle, monkeypatch):
    monkeypatch.setattr("fedxai.flare.comparison.ExplainSettings", partial(ExplainSettings, trust_cases=1))
    comparison = SystemsComparison(
        cohorts=cohorts,
        bundle=Bundle.open(light_bundle),
        job=job,
        rounds=1,
        train=TrainSettings(local_epochs=1),
        out=tmp_path,
    )
    [result] = comparison._centralised(0, lambda _: None)
    assert comparison.key_metric == "mean_dice"
    assert set(result.metrics) == METRICS
    assert [part.class_index for part in result.classes] == [1, 2]
    assert all(method.trust for part in result.classes for method in part.methods)
