# SPDX-License-Identifier: Apache-2.0
"""Whose processes are seen and ended, with small programs in the places of server and sites."""

import os
import shutil
import subprocess
import sys
import time

import psutil
import pytest

from fedxai.errors import RunError
from fedxai.flare import deploy
from fedxai.flare.kit import kits

OBEDIENT = "import pathlib, sys, time\nwhile not (pathlib.Path(sys.argv[1]) / 'shutdown.fl').exists(): time.sleep(0.05)"
STUBBORN = "import time\nwhile True: time.sleep(1)"


@pytest.fixture
def deployment(provisioned, tmp_path):
    """A deployment in which nothing runs, of one site."""
    shutil.copytree(provisioned, tmp_path / "ours")
    return tmp_path / "ours"


def site_of(deployment):
    return next(kit for kit in kits(deployment) if kit.name == "site-1")


@pytest.fixture
def runs(deployment):
    """Start a program as FLARE's daemon of the site."""
    started = []

    def run(program: str) -> psutil.Process:
        folder = site_of(deployment).folder
        process = subprocess.Popen([sys.executable, "-c", program, str(folder)])
        started.append(process)
        (folder / "daemon_pid.fl").write_text(str(process.pid))
        deadline = time.monotonic() + 10
        while str(folder) not in psutil.Process(process.pid).cmdline() and time.monotonic() < deadline:
            time.sleep(0.01)  # for a moment a new program has no command line yet
        return psutil.Process(process.pid)

    yield run
    for process in started:
        process.kill()
        process.wait()


def test_a_process_of_the_kit_is_seen_and_ends_by_its_stop_file(deployment, runs):
    process = runs(OBEDIENT)
    assert deploy.processes(site_of(deployment)) == [process]
    assert deploy.down(deployment, patience=10) == []
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_one_that_does_not_follow_is_ended_and_named(deployment, runs):
    process = runs(STUBBORN)
    assert deploy.down(deployment, patience=0.3) == ["site-1"]
    psutil.wait_procs([process], timeout=5)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_stale_file_that_names_a_strangers_process_harms_nobody(deployment):
    (site_of(deployment).folder / "pid.fl").write_text(str(os.getpid()))
    assert deploy.processes(site_of(deployment)) == []
    assert deploy.down(deployment) == []


def test_what_runs_is_not_started_twice(deployment, runs, monkeypatch):
    process = runs(STUBBORN)
    started = []
    monkeypatch.setattr(deploy, "start", started.append)
    with pytest.raises(RunError, match="site-1, site-2, site-3 did not connect in time"):
        deploy.up(deployment, patience=0)
    assert [kit.name for kit in started] == ["localhost", "site-2", "site-3"]
    assert process.is_running(), "what ran before is not stopped because another part did not come"
    monkeypatch.setattr(deploy, "processes", lambda kit: [process])
    with pytest.raises(RunError, match="of this deployment run already"):
        deploy.up(deployment)


def test_a_server_that_does_not_answer_is_said_at_once(deployment):
    began = time.monotonic()
    with (
        pytest.raises(RunError, match="no server answers at localhost:18766"),
        deploy.session(next(kit for kit in kits(deployment) if kit.role == "lead")),
    ):
        pass
    assert time.monotonic() - began < 5
