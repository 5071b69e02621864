# SPDX-License-Identifier: Apache-2.0
"""FLARE's own command on the main job, as its users type it: alone in its file, because it takes the longest of all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedxai.records import RunSummary


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_bare_command_runs_from_any_folder_on_the_phantom(main_job, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "FEDXAI_COHORTS"}
    nvflare = Path(sys.executable).with_name("nvflare")
    done = subprocess.run(
        [nvflare, "simulator", main_job], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "no cohort is configured, so the embedded phantom cohort is used" in done.stdout + done.stderr
    results = tmp_path / "simulator_workspace" / "server" / "simulate_job" / "fedxai"
    summary = RunSummary.model_validate_json((results / "summary.json").read_text())
    assert len(summary.sites) >= 3
    assert f"round {len(summary.rounds)}/" in done.stdout + done.stderr
    assert (results / "report.html").is_file()
    assert list((results / "events").rglob("events.out.tfevents*"))
    best = next(m for m in summary.final if m.which == "best")
    assert best.metrics["macro_auc"].value > 0.7, "the phantom is learnt in the demo's rounds"
    assert best.shortcuts is not None
    assert best.shortcuts.tests > 0
