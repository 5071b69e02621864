# SPDX-License-Identifier: Apache-2.0
"""Faults through the real simulator: a sentence, an exit code, nothing half-written, and the rest goes on."""

from pathlib import Path

import pytest
import torch

from fedxai.errors import RunError, SettingsError
from fedxai.flare.simulate import RESULTS, run_job
from fedxai.records import RunSummary

pytestmark = pytest.mark.slow


def summary_of(results: Path) -> RunSummary:
    return RunSummary.model_validate_json((results / "summary.json").read_text())


def test_the_run_goes_on_without_the_sites_that_fail_and_says_who_was_missing(faulty_job, small_cohorts, tmp_path):
    faults = {
        "site-2/1": "nan loss",
        "site-3/1": "wrong shape",
        "site-2/2": "die",
        "site-3/2": "nan update",
        "site-3/3": "wrong name",
    }
    settings = {"num_rounds": 3, "min_clients": 1, "explain_every": 0, "patience": 8}
    results = run_job(faulty_job(faults), out=tmp_path / "run", cohorts=small_cohorts, settings=settings)
    missing = {r.round: {a.name: a.reason for a in r.missing} for r in summary_of(results).rounds}
    assert all(list(names) == ["site-2", "site-3"] for names in missing.values()), "and site-1 is enough"
    assert missing[1]["site-2"] == (
        "TrainingError: the logits must be finite, got NaN or infinity; the weights are spoilt"
    )
    assert "must be float32" in missing[1]["site-3"]
    assert missing[2]["site-2"] == "no answer in time"
    assert "not finite" in missing[2]["site-3"]
    assert "update has 1 tensors missing and 1 unknown ones" in missing[3]["site-3"]
    report = (results / "report.html").read_text()
    assert "no answer in time" in report
    assert "1 tensors missing and 1 unknown ones" in report
    assert "stowaway" not in report, "a name that nobody knows could be content"
    last = torch.load(next((results / "last").rglob("model.pt")))
    assert "stowaway" not in last
    assert all(torch.isfinite(t).all() for t in last.values())


@pytest.mark.parametrize(
    ("faults", "sentence"),
    [
        ({"*/2": "nan loss"}, "round 2 got 0 usable updates and needs 2"),
        ({"*/2": "nothing to select by"}, "no site reported macro_auc up to round 1"),
    ],
)
def test_a_run_that_did_not_do_what_it_was_asked_fails_with_a_sentence(
    faulty_job, small_cohorts, tmp_path, faults, sentence
):
    settings = {"num_rounds": 3, "explain_every": 0}
    with pytest.raises(RunError, match=sentence):
        run_job(faulty_job(faults), out=tmp_path / "run", cohorts=small_cohorts, settings=settings)
    assert len(summary_of(tmp_path / "run" / RESULTS).rounds) >= 1, "the report of the rounds before is kept"


def test_sites_that_do_not_match_the_cohorts_are_named(main_job, small_cohorts, bare_simulator, tmp_path):
    done = bare_simulator(tmp_path, main_job, "-n", "2", "-t", "2", cohorts=small_cohorts)
    assert done.returncode != 0
    assert "the cohorts folder has site-1, site-2, site-3" in done.stdout + done.stderr


def test_the_bare_command_fails_where_all_sites_fail(faulty_job, bare_simulator, tmp_path):
    """FLARE's simulator exits with 0 there unless the job panics."""
    done = bare_simulator(tmp_path, faulty_job({"*/1": "nan loss"}), "-c", "site-1,site-3", "-t", "2")
    assert done.returncode != 0
    assert "round 1 got 0 usable updates and needs 2" in done.stdout + done.stderr


def test_a_run_folder_that_holds_something_is_refused_and_kept(main_job, small_cohorts, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "earlier.txt").write_text("results")
    with pytest.raises(SettingsError, match="new or empty folder"):
        run_job(main_job, out=tmp_path / "run", cohorts=small_cohorts)
    assert (tmp_path / "run" / "earlier.txt").read_text() == "results"


def test_a_setting_that_the_job_does_not_have_is_refused(main_job, small_cohorts, tmp_path):
    with pytest.raises(SettingsError, match="no setting 'rounds'"):
        run_job(main_job, out=tmp_path / "run", cohorts=small_cohorts, settings={"rounds": 3})
