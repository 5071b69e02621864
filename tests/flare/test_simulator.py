# SPDX-License-Identifier: Apache-2.0
"""Every site has its own name; what a run left is in its place or under earlier/, and no process with it."""

import json
import pickle
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import psutil
import pytest
import torch
from nvflare.private.fed.app.simulator import simulator_runner
from nvflare.private.fed.app.simulator.simulator_runner import SimulatorClientRunner, SimulatorRunner

from fedxai.errors import RunError, SettingsError
from fedxai.flare.home import PROGRESS
from fedxai.flare.simulate import RESULTS, run_job
from fedxai.flare.simulator import Simulator, SimulatorAgain, main
from fedxai.flare.site import Site
from fedxai.intake.phantom import make_phantom

SIDES = ("server", "site-1", "site-2")


@pytest.fixture
def runner(tmp_path, monkeypatch) -> SimulatorAgain:
    """The workspace of an earlier run, and FLARE's deployment as far as it wants empty folders."""
    for side in SIDES:
        ours = tmp_path / side / "simulate_job" / "fedxai"
        ours.mkdir(parents=True)
        (ours / "ledger.jsonl").write_text(side)
        (tmp_path / side / "startup").mkdir()
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "resources.json").write_text("the person's own")

    def deploy(self, *_):
        for side in SIDES:
            (tmp_path / side / "simulate_job" / f"app_{side}").mkdir(parents=True)

    monkeypatch.setattr(SimulatorRunner, "_deploy_apps", deploy)
    made = SimulatorAgain.__new__(SimulatorAgain)
    made.simulator_root = str(tmp_path)
    return made


def ledgers(root: Path) -> list[str]:
    return [(root / side / "simulate_job" / "fedxai" / "ledger.jsonl").read_text() for side in SIDES]


def test_what_is_ours_is_kept_and_the_rest_made_anew(runner, tmp_path):
    runner._cleanup_workspace()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["earlier", "local"]
    runner._deploy_apps(None, None, None, None)
    assert ledgers(tmp_path) == list(SIDES)
    assert not (tmp_path / "earlier").exists()
    assert (tmp_path / "local" / "resources.json").read_text() == "the person's own"
    assert not (tmp_path / "site-1" / "startup").exists(), "FLARE makes its own"


def test_a_kill_after_clearing_loses_nothing(runner, tmp_path):
    runner._cleanup_workspace()
    runner._cleanup_workspace()
    runner._deploy_apps(None, None, None, None)
    assert ledgers(tmp_path) == list(SIDES)


def test_a_kill_while_things_are_moved_loses_nothing(runner, tmp_path, monkeypatch):
    rename, moves = Path.rename, []

    def killed_at_the_second(self, target):
        moves.append(target)
        if len(moves) == 2:
            raise KeyboardInterrupt
        return rename(self, target)

    for step in (runner._cleanup_workspace, lambda: runner._deploy_apps(None, None, None, None)):
        moves.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", killed_at_the_second)
            with pytest.raises(KeyboardInterrupt):
                step()
        runner._cleanup_workspace()
    runner._deploy_apps(None, None, None, None)
    assert ledgers(tmp_path) == list(SIDES)


def test_a_folder_without_state_is_not_resumed(repository, tmp_path):
    with pytest.raises(SettingsError, match="--resume needs the folder of an interrupted run, got 'new', which holds"):
        run_job(repository / "jobs" / "fedxai", out=tmp_path / "new", settings={"resume": True})
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("threads", "at_a_time"), [(None, 4), (2, 2)])
def test_so_many_sites_work_at_a_time(repository, tmp_path, monkeypatch, threads, at_a_time):
    """From the caller to FLARE's runner, which is not begun."""
    asked = MagicMock()

    def begin(command, *_) -> int:
        with monkeypatch.context() as within:
            within.setattr("sys.argv", command[2 : command.index("--parent")])
            within.setattr("fedxai.flare.simulator.Simulator", asked)
            main()
        return 1

    monkeypatch.setattr("fedxai.flare.simulate._watch", begin)
    with pytest.raises(RunError):
        run_job(repository / "jobs" / "fedxai", out=tmp_path / "run", threads=threads)
    assert asked.call_args.kwargs["threads"] == at_a_time
    assert len(asked.call_args.kwargs["clients"].split(",")) == 4


def names_told(build_ctx, monkeypatch, tmp_path) -> list[str]:
    """What FLARE's own code tells the processes of two sites that start at the same moment, as each reads it."""
    together, told = threading.Barrier(2, timeout=30), {}

    class Connection:
        def __init__(self, site: str) -> None:
            self.site = site

        def send(self, data: dict) -> None:
            together.wait()  # both have written the name by now
            told[self.site] = pickle.loads(pickle.dumps(data))["build_ctx"]["client_name"]

        def recv(self) -> None:
            raise EOFError

    def connect(*_, **__) -> Connection:
        return Connection(threading.current_thread().name)

    def start(site: str) -> None:
        threading.current_thread().name = site
        for folder in ("startup", "local"):
            (tmp_path / site / folder).mkdir(parents=True, exist_ok=True)
        client = MagicMock(client_name=site, token=site)
        runner.do_one_task(client, 2, None, threading.Lock())

    arguments = SimpleNamespace(workspace=str(tmp_path), set=None, log_config=None)
    runner = SimulatorClientRunner("", arguments, [], {}, SimpleNamespace(workspace=str(tmp_path)), build_ctx)
    monkeypatch.setattr(simulator_runner.subprocess, "Popen", lambda *_, **__: MagicMock(poll=lambda: None))
    monkeypatch.setattr(runner, "_create_connection", connect)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(start, ("site-1", "site-2")))
    return [told["site-1"], told["site-2"]]


def test_two_sites_that_start_at_the_same_moment_have_their_own_names(monkeypatch, tmp_path):
    flares = {"client_name": "the last one made", "server_host": "localhost"}
    assert len(set(names_told(dict(flares), monkeypatch, tmp_path))) == 1, "FLARE has mended it: take our mapping out"
    simulator = Simulator.__new__(Simulator)
    simulator.federated_clients, simulator.args = [], Namespace()
    simulator.deployer = MagicMock(create_fl_client=lambda name, args: (MagicMock(), {}, None, dict(flares)))
    simulator.create_client("site-2")
    assert names_told(simulator.build_ctx, monkeypatch, tmp_path) == ["site-1", "site-2"]
    assert pickle.loads(pickle.dumps(simulator.build_ctx)) == flares


@pytest.mark.parametrize(("name", "refused"), [("site-1", True), ("site-3", False)])
def test_a_simulated_site_with_another_ones_name_refuses_to_work(name, refused, tmp_path):
    context = MagicMock()
    context.get_identity_name.return_value = name
    context.get_prop.side_effect = lambda key, default=None: {"__simulate_mode__": True}.get(key, default)
    workspace = context.get_engine.return_value.get_workspace.return_value
    workspace.get_root_dir.return_value = str(tmp_path / "site-3")
    workspace.get_site_config_dir.return_value = str(tmp_path)
    workspace.get_run_dir.return_value = str(tmp_path)
    site = Site("brain_mri_tumor_classification")
    if refused:
        with pytest.raises(RunError, match="gave site-3 the name of site-1; start it again, or with -t 1"):
            site.enter(context)
    else:
        assert site.enter(context).name == "site-3"


PROGRAM = """
import sys
from pathlib import Path

from fedxai.flare.simulate import run_job

job, out, cohorts = map(Path, sys.argv[1:])
run_job(job, out=out, cohorts=cohorts, settings={"num_rounds": 200, "explain_every": 0}, train={"local_steps": 1})
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_program_that_is_ended_while_it_runs_a_job_leaves_no_process_and_no_broken_file(repository, tmp_path, end):
    out, cohorts = tmp_path / "run", tmp_path / "cohorts"
    for index in range(2):
        make_phantom(cohorts / f"site-{index + 1}", site=f"site-{index + 1}", index=index, cases=30)
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, repository / "jobs" / "fedxai", out, cohorts])
    family: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 240
        while not (out / RESULTS / PROGRESS).is_file() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.2)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 4, "the simulator and its sites are at work"
        process.send_signal(end)
        assert process.wait(60) == -end
        _, alive = psutil.wait_procs(family, timeout=20)
        assert alive == []
    finally:
        for member in psutil.wait_procs(family, timeout=0)[1]:
            member.kill()
        process.kill()
    for checkpoint in out.rglob("*.pt"):
        torch.load(checkpoint, weights_only=True)
    for described in out.glob(f"{RESULTS}/**/*.json"):
        json.loads(described.read_text())
