# SPDX-License-Identifier: Apache-2.0
"""The main job through FLARE's simulator, as people start it."""

import json
import math
import runpy
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from fedxai.bundle import Bundle
from fedxai.flare.simulate import RESULTS, prepare_job, run_job
from fedxai.intake.cohort import Cohort, site_cohorts
from fedxai.intake.phantom import make_phantom
from fedxai.privacy.ledger import Ledger
from fedxai.records import SPLITS, RunSummary
from fedxai.settings import TrainSettings
from fedxai.train import federation
from fedxai.train.engine import SiteTrainer

pytestmark = pytest.mark.slow
check_sent = runpy.run_path(str(Path(__file__).with_name("sent.py")))["check_sent"]
LOCAL_EPOCHS = 2
TRUST_CASES = 5  # the minimum cell: fewer would not leave a site


def read(results: Path) -> RunSummary:
    return RunSummary.model_validate_json((results / "summary.json").read_text())


def model(results: Path, which: str) -> dict[str, np.ndarray]:
    [path] = (results / which).glob("*/models/model.pt")
    return {name: tensor.numpy() for name, tensor in torch.load(path, weights_only=True).items()}


@pytest.fixture(scope="module")
def two_runs(repository, explaining, bare_simulator, tmp_path_factory):
    """The same seed twice: both sites at once, and by FLARE's bare command from another folder.

    That is one site at a time: without -t FLARE starts a process for every task, each with PyTorch and MONAI anew.
    The sites are of unequal size, so that a mean without weights is another one; no figure is below the minimum cell.
    """
    from fedxai.intake.phantom import make_phantom

    root = tmp_path_factory.mktemp("runs")
    for index, cases in enumerate((50, 30)):
        make_phantom(root / "cohorts" / f"site-{index + 1}", site=f"site-{index + 1}", index=index, cases=cases)
    job = explaining(repository / "jobs" / "fedxai", root, trust_cases=TRUST_CASES, honesty_cases=TRUST_CASES)
    settings, train = {"num_rounds": 2, "explain_every": 1}, {"local_epochs": LOCAL_EPOCHS}
    together = run_job(job, out=root / "t2", cohorts=root / "cohorts", settings=settings, train=train)
    prepare_job(job, root / "typed" / "job", ["site-1", "site-2"], settings, train)
    done = bare_simulator(root / "typed", Path("job"), cohorts=root / "cohorts")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return root / "cohorts", together, root / "typed" / "simulator_workspace" / RESULTS


@pytest.mark.timeout(1500)
def test_one_site_at_a_time_and_both_at_once_agree(two_runs):
    _, together, in_turn = two_runs
    for which in ("last", "best"):
        a, b = model(together, which), model(in_turn, which)
        assert all(np.array_equal(a[name], b[name]) for name in a)
    a, b = read(together), read(in_turn)
    assert [m.metrics for m in a.final] == [m.metrics for m in b.final]
    assert [m.explanation for m in a.final] == [m.explanation for m in b.final]
    assert [len(round_.sites) for round_ in b.rounds] == [2, 2]
    assert sorted(b.final[-1].explanations) == ["site-1", "site-2"]
    assert (in_turn / "report.html").is_file()


def averaged(updates, cases):
    """Equation 2 once more."""
    sites = list(updates)
    n = [cases[site] for site in sites]
    return {
        name: np.average([updates[site][name] for site in sites], axis=0, weights=n).astype(np.float32)
        for name in updates[sites[0]]
    }


def test_the_federated_model_is_the_plain_loops_model(two_runs, monkeypatch):
    """FLARE's rounds against Equations 1 and 2 in one process."""
    monkeypatch.setattr(federation, "fedavg", averaged)
    cohorts, together, _ = two_runs
    bundle = Bundle.open(read(together).bundle.name)
    trainers = {
        site: SiteTrainer(
            bundle=bundle,
            cases=Cohort.open(path).splits(),
            site=site,
            settings=TrainSettings(threads=1, local_epochs=LOCAL_EPOCHS),
        )
        for site, path in site_cohorts(cohorts).items()
    }
    plain = federation.train_rounds(trainers, rounds=2)
    for which, weights in (("last", plain.last), ("best", plain.best)):
        for name, tensor in model(together, which).items():
            np.testing.assert_allclose(tensor, weights[name], rtol=1e-5, atol=1e-6)


def test_the_global_loss_is_equation_3_over_the_sites_losses(two_runs):
    summary = read(two_runs[1])
    n = {site.name: site.cases.training for site in summary.sites}
    for round_ in summary.rounds:
        by_hand = sum(n[s.name] / sum(n.values()) * s.validation["loss"].value for s in round_.sites)
        assert round_.global_loss == pytest.approx(by_hand, abs=1e-4)


def test_p_is_one_and_its_counts_equal_the_files_and_the_sites_own_ledgers(two_runs):
    cohorts, together, _ = two_runs
    summary = read(together)
    files = [file for file in cohorts.rglob("*") if file.is_file()]
    assert summary.privacy.bytes_total == sum(file.stat().st_size for file in files)
    assert summary.privacy.case_records_total == len([f for f in files if f.parent.name == "images"])
    assert summary.privacy.score == 1.0
    run = together.parents[2]
    for site in summary.sites:
        own = Ledger(run / site.name / "simulate_job" / "fedxai" / "ledger.jsonl").totals()
        assert own == site.outgoing


def test_maps_and_gallery_stay_in_the_site_and_only_figures_leave(two_runs):
    _, together, _ = two_runs
    run = together.parents[2]
    gallery = run / "site-1" / "simulate_job" / "fedxai" / "gallery_last"
    assert "never leaves" in (gallery / "index.html").read_text()
    assert list(gallery.rglob("*.png"))
    shown = {case.image.name for case in Cohort.open(site_cohorts(two_runs[0])["site-1"]).cases("test")}
    assert [name for name in shown if f"images/{name}" in (gallery / "index.html").read_text()], "to find the study"
    assert not list((run / "server").rglob("*gallery*"))
    groups = {case.group for path in site_cohorts(two_runs[0]).values() for case in Cohort.open(path).cases("test")}
    text = (together / "summary.json").read_text() + (together / "report.html").read_text()
    assert not [group for group in groups if f'"{group}"' in text]


def test_the_summary_is_strict_json_with_the_promised_fields(two_runs):
    def refuse(name):
        raise AssertionError(name)

    summary = json.loads((two_runs[1] / "summary.json").read_text(), parse_constant=refuse)
    wanted = {"schema_version", "bundle", "sites", "rounds", "final", "bytes", "privacy", "timing"}
    assert wanted <= summary.keys()
    assert {"name", "version", "digest"} <= summary["bundle"].keys()
    assert {"name", "cases", "metrics", "explanation"} <= summary["sites"][0].keys()


def test_the_best_model_is_a_bundle_that_opens_and_predicts(two_runs):
    [folder] = (two_runs[1] / "best").iterdir()
    bundle = Bundle.open(folder)
    network = bundle.network()
    network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
    size = bundle.metadata["network_data_format"]["inputs"]["image"]["spatial_shape"]
    assert network.eval()(torch.zeros(1, 1, *size)).shape == (1, len(bundle.class_names))


def test_a_given_model_is_explained_at_all_sites_as_in_the_run_that_made_it(
    two_runs, repository, explaining, little, tmp_path
):
    cohorts, trained, *_ = two_runs
    [bundle] = [path.parent for path in (trained / "best").glob("*/configs")]
    results = run_job(
        explaining(repository / "jobs" / "explain_only", tmp_path, **{**little, "trust_cases": TRUST_CASES}),
        out=tmp_path / "explained",
        cohorts=cohorts,
        settings={"model": str(bundle)},
    )
    summary = read(results)
    [before] = [m for m in read(trained).final if m.which == "best"]
    assert summary.rounds == []
    assert "2 sites tested and explained a model that was given" in " ".join(
        (results / "report.html").read_text().split()
    )
    for found in summary.final:
        assert found.metrics == before.metrics
        assert [method.scores for method in found.explanation] == [method.scores for method in before.explanation]


def test_verdict_battery_alarm_and_choice_stand_in_the_summary(two_runs):
    summary = read(two_runs[1])
    shown = summary.final[-1]
    for method in shown.explanation:
        assert {test.name for test in method.trust} == {"randomisation", "faithfulness", "robustness", "localisation"}
    assert shown.honesty is not None
    assert shown.honesty.cases == sum(answer.honesty.cases for answer in shown.explanations.values())
    assert shown.shortcuts is not None, "the test cases alone are too few a class; those of all splits are enough"
    assert shown.shortcuts.tests > 0
    assert summary.choice is not None
    assert summary.choice.round == shown.round == summary.choice.round_by_metric


def test_no_array_hides_in_anything_that_a_site_sent(two_runs):
    """The answers of all rounds and final models, as the summary holds them; the server's ledger knows no others."""
    results = two_runs[1]
    sent = answers(json.loads((results / "summary.json").read_text()))
    weights = [tensor for tensor in model(results, "last").values() if tensor.dtype.kind == "f"]
    bundle = Bundle.open(read(results).bundle.name)
    classes = len(bundle.class_names)
    longest = {"methods": 3, "left_out": 3, "trust": 4, "places": classes, "confusion": classes}
    for answer in (answer for found in sent.values() for answer in found):
        check_sent(answer, longest)
    entries = list(Ledger(results / "ledger.jsonl").entries())
    assert Counter(entry.kind for entry in entries) == {kind: len(found) for kind, found in sent.items()}
    one_map = 4 * math.prod(bundle.metadata["network_data_format"]["inputs"]["image"]["spatial_shape"])
    of_weights = {"update": sum(tensor.nbytes for tensor in weights)}
    for entry in entries:
        assert entry.bytes - of_weights.get(entry.kind, 0) < one_map, f"a {entry.kind} has room for a map"


def answers(summary):
    """What the sites answered, by kind; of an evaluation the half that the summary holds."""
    trained = [site for round_ in summary["rounds"] for site in round_["sites"]]
    models = {model["round"]: model for model in summary["final"]}.values()  # the best one may be the last
    explained = [site["explanation"] for site in trained if site["explanation"]]
    return {
        "survey": [{"cases": site["cases"], "holding": site["holding"]} for site in summary["sites"]],
        "update": trained,
        "evaluation": [answer for model in models for answer in model["evaluations"].values()],
        "explanation": explained + [answer for model in models for answer in model["explanations"].values()],
    }


def test_the_server_keeps_no_array_but_models(two_runs):
    """What is no text is a model, as FLARE and as a bundle keeps it, or the report's figures and their course."""
    server = two_runs[1].parents[1]
    kept = [path for path in server.rglob("*") if path.is_file() and not is_text(path)]
    models = sorted(path.name for path in kept if path.suffix == ".pt")
    assert models == ["FL_global_model.pt", "best_FL_global_model.pt", "model.pt", "model.pt"]
    assert {path.parent.name for path in kept if path.suffix != ".pt"} == {"figures", "events"}


def is_text(path: Path) -> bool:
    try:
        return "\0" not in path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False


@pytest.mark.timeout(900)
def test_a_guided_run_works_where_a_site_has_no_regions_and_the_floor_is_out_of_reach(
    brief_job, small_cohorts, tmp_path
):
    without_regions(small_cohorts / "site-3")
    shutil.rmtree(small_cohorts / "site-1")
    make_phantom(small_cohorts / "site-1", site="site-1", index=0, cases=80)  # six patients validate: E may leave
    results = run_job(
        brief_job,
        out=tmp_path / "run",
        cohorts=small_cohorts,
        settings={"bundle": "brain_mri_tumor_local_evidence", "num_rounds": 2, "explain_every": 1, "e_floor": 0.99},
        train={"local_epochs": 1, "guidance": {"terms": ["relevance"]}},
    )
    summary = read(results)
    assert [len(round_.sites) for round_ in summary.rounds] == [3, 3]
    scored = {site: answer.methods[0].scored for site, answer in summary.final[-1].explanations.items()}
    assert scored["site-3"] == 0
    assert scored["site-1"] > 0
    assert summary.choice is not None
    assert summary.choice.e < 0.99
    assert summary.choice.round == 2, "where no model reaches the floor, the last one is taken"


def without_regions(cohort: Path) -> None:
    """Take the masks out of a cohort."""
    path = cohort / "dataset.json"
    listing = json.loads(path.read_text())
    for split in SPLITS:
        for case in listing[split]:
            case.pop("region", None)
    path.write_text(json.dumps(listing))


def test_rounds_that_are_not_validated_train_as_usual_and_no_model_of_theirs_is_chosen(
    brief_job, small_cohorts, tmp_path
):
    settings = {"num_rounds": 3, "explain_every": 0, "validate_every": 2}
    results = run_job(
        brief_job, out=tmp_path / "run", cohorts=small_cohorts, settings=settings, train={"local_steps": 2}
    )
    summary = read(results)
    assert [round_.selection_metric is None for round_ in summary.rounds] == [False, True, False]
    assert [round_.global_loss is None for round_ in summary.rounds] == [False, True, False]
    assert {len(site.validation) for site in summary.rounds[1].sites} == {0}
    assert summary.choice is not None
    assert summary.choice.round in (2, 3)
    assert "Validation loss" in (results / "report.html").read_text()


@pytest.mark.timeout(1500)
def test_flares_own_command_runs_the_sites_that_it_is_given_in_the_folder_that_it_is_given(
    brief_job, bare_simulator, tmp_path
):
    sites = ["site-1", "site-2", "site-3", "site-4"]
    small = {"num_rounds": 1, "explain_every": 0, "local_epochs": 1}
    prepare_job(brief_job, tmp_path / "job", sites, small, {})
    done = bare_simulator(tmp_path, Path("job"), "-c", "site-1,site-3", "-t", "2", "-w", "workspace")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    summary = read(tmp_path / "workspace" / RESULTS)
    assert [site.name for site in summary.sites] == ["site-1", "site-3"]
    assert [len(round_.sites) for round_ in summary.rounds] == [2]
    assert summary.final[-1].explanations.keys() == {"site-1", "site-3"}
