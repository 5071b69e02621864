# SPDX-License-Identifier: Apache-2.0
"""FLARE's own command on the main job as it is, as its users type it: alone in its file, because it takes long."""

import pytest

from fedxai.flare.simulate import RESULTS
from fedxai.records import RunSummary


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_job_as_it_is_learns_the_phantom_and_shows_it(main_job, bare_simulator, tmp_path):
    done = bare_simulator(tmp_path, main_job, "-t", "4")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "no cohort is configured, so the embedded phantom cohort is used" in done.stdout + done.stderr
    results = tmp_path / "simulator_workspace" / RESULTS
    assert (results / "report.html").is_file()
    summary = RunSummary.model_validate_json((results / "summary.json").read_text())
    assert f"round {len(summary.rounds)}/" in done.stdout + done.stderr
    assert list((results / "events").rglob("events.out.tfevents*"))
    explained = {part.round: sum(site.explanation is not None for site in part.sites) for part in summary.rounds}
    assert explained == {1: 4, 2: 4, 3: 0, 4: 4, 5: 0, 6: 0}, "the last round's model is explained as the last one"
    last, best = (next(m for m in summary.final if m.which == which) for which in ("last", "best"))
    assert last.round == len(summary.rounds) == 6
    assert last.explanations.keys() == last.evaluations.keys() == {f"site-{index}" for index in range(1, 5)}
    assert best.metrics["macro_auc"].value > 0.7, "the phantom is learnt in the demo's rounds"
    assert best.shortcuts is not None
    assert best.shortcuts.tests > 0
