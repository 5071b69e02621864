# SPDX-License-Identifier: Apache-2.0
"""A run that is interrupted from the terminal or ended by the system takes its whole family with it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from fedxai.flare.simulate import RESULTS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("interruption", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_process_and_no_broken_checkpoint(
    brief_job, small_cohorts, tmp_path, interruption
):
    out = tmp_path / "run"
    command = [Path(sys.executable).with_name("fedxai"), "run", brief_job, "--cohorts", small_cohorts, "--out", out]
    process = subprocess.Popen(
        [*command, "--rounds", "200"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # a terminal's child heeds Ctrl-C; a background job of a script, as in CI, inherits that it is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    progress = out / RESULTS / "progress.txt"
    deadline = time.monotonic() + 240
    while not progress.is_file() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 4, "the simulator and its sites are at work"
    process.send_signal(interruption)
    assert process.wait(60) != 0
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
    for checkpoint in out.rglob("*.pt"):
        torch.load(checkpoint, weights_only=True)
