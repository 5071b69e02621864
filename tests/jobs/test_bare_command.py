# SPDX-License-Identifier: Apache-2.0
"""FLARE's own command on the main job, as its users type it: alone in its file, because it takes the longest of all."""

from pathlib import Path

import pytest

from fedxai.flare.simulate import RESULTS, prepare_job
from fedxai.records import RunSummary

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
SITES = ["site-1", "site-2", "site-3", "site-4"]


def results_of(done, folder: Path) -> tuple[Path, RunSummary]:
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "no cohort is configured, so the embedded phantom cohort is used" in done.stdout + done.stderr
    results = folder / "simulator_workspace" / RESULTS
    assert (results / "report.html").is_file()
    return results, RunSummary.model_validate_json((results / "summary.json").read_text())


def test_the_bare_command_runs_from_any_folder_on_the_phantom(brief_job, bare_simulator, tmp_path):
    """One round of two sites: without -t FLARE starts a process for every task, each with PyTorch and MONAI anew."""
    prepare_job(brief_job, tmp_path / "job", SITES[:2], {"num_rounds": 1}, {})
    _, summary = results_of(bare_simulator(tmp_path / "job"), tmp_path)
    assert [site.name for site in summary.sites] == SITES[:2]
    assert [len(round_.sites) for round_ in summary.rounds] == [2]
    assert sorted(summary.final[-1].explanations) == SITES[:2]


def test_the_job_as_it_is_learns_the_phantom_and_shows_it(main_job, bare_simulator, tmp_path):
    done = bare_simulator(main_job, "-t", "4")
    results, summary = results_of(done, tmp_path)
    assert f"round {len(summary.rounds)}/" in done.stdout + done.stderr
    assert list((results / "events").rglob("events.out.tfevents*"))
    explained = {part.round: sum(site.explanation is not None for site in part.sites) for part in summary.rounds}
    assert explained == {1: 4, 2: 4, 3: 0, 4: 4, 5: 0, 6: 0}, "the last round's model is explained as the last one"
    last, best = (next(m for m in summary.final if m.which == which) for which in ("last", "best"))
    assert last.round == len(summary.rounds) == 6
    assert last.explanations.keys() == last.evaluations.keys() == set(SITES)
    assert best.metrics["macro_auc"].value > 0.7, "the phantom is learnt in the demo's rounds"
    assert best.shortcuts is not None
    assert best.shortcuts.tests > 0
