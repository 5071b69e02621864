# SPDX-License-Identifier: Apache-2.0
"""Kill -9, damaged states and full disks through the real simulator: the run goes on, or says why not."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from fedxai.errors import RunError, SettingsError
from fedxai.flare.simulate import RESULTS, run_job
from fedxai.flare.state import StudyStore
from fedxai.privacy.audit import verify
from fedxai.privacy.compare import compare
from fedxai.privacy.ledger import Ledger
from fedxai.records import RunSummary

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STUDY = Path("studies") / "short"
ROUNDS = 3
SITES = ("site-1", "site-2")

FAULTS = '''
"""Faults of the server and of a site, each struck once, as long as its mark is not there."""
import os
import signal
from pathlib import Path

from fedxai.flare.aggregator import FedAvgAggregator
from fedxai.flare.executors import TrainExecutor
from nvflare.app_common.app_constant import AppConstants


def strike(what, round_):
    mark = Path(os.environ["FAULTS"]) / f"{what}_{round_}"
    if mark.is_file():
        mark.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def fill(round_):
    mark = Path(os.environ["FAULTS"]) / f"full_{round_}"
    if mark.is_file():
        try:
            with mark.open("wb") as file:
                while True:
                    file.write(bytes(4096))
                    file.flush()
        except OSError:
            pass


class Aggregator(FedAvgAggregator):
    def aggregate(self, fl_ctx):
        strike("server", fl_ctx.get_prop(AppConstants.CURRENT_ROUND) + 1)
        fill(fl_ctx.get_prop(AppConstants.CURRENT_ROUND) + 1)
        return super().aggregate(fl_ctx)


class Executor(TrainExecutor):
    def _train(self, site, message, abort_signal):
        reply = super()._train(site, message, abort_signal)
        strike(site.name, int(message.get_header(AppConstants.CURRENT_ROUND)) + 1)
        return reply
'''


@pytest.fixture(scope="module")
def ground(repository, tmp_path_factory) -> Path:
    """Two small cohorts, and the main job with little to explain and faults that can be planted."""
    from fedxai.intake.phantom import make_phantom

    root = tmp_path_factory.mktemp("resume")
    for index, site in enumerate(SITES):
        make_phantom(root / "cohorts" / site, site=site, index=index, cases=24)
    job = root / "short"
    shutil.copytree(repository / "jobs" / "fedxai", job)
    (job / "app" / "custom" / "planted.py").write_text(FAULTS)
    config = job / "app" / "config"
    client = json.loads((config / "config_fed_client.json").read_text())
    client["executors"][0]["executor"]["path"] = "planted.Executor"
    client["components"][0]["args"]["explain"] = {
        "final_cases": 2, "cases": 2, "trust_cases": 0, "honesty_cases": 0, "gallery": 0,
    }  # fmt: skip
    (config / "config_fed_client.json").write_text(json.dumps(client))
    server = json.loads((config / "config_fed_server.json").read_text())
    next(c for c in server["components"] if c["id"] == "aggregator")["path"] = "planted.Aggregator"
    server["workflows"][0]["args"]["first_patience"] = 8  # how long a round waits for a site that was killed
    server["workflows"][0]["args"]["study"] = client["components"][0]["args"]["study"] = "short"
    (config / "config_fed_server.json").write_text(json.dumps(server))
    return root


def run(ground: Path, out: Path, monkeypatch, *, faults=(), resume=False, rounds=ROUNDS, **settings) -> Path:
    marks = out.with_name(f"{out.name}.faults")
    marks.mkdir(exist_ok=True)
    for fault in faults:
        (marks / fault).touch()
    monkeypatch.setenv("FAULTS", str(marks))
    return run_job(
        ground / "short",
        out=out,
        cohorts=ground / "cohorts",
        settings={"num_rounds": rounds, "explain_every": 0, **({"resume": True} if resume else {}), **settings},
        train={"local_epochs": 1, "threads": 1},
    )


@pytest.fixture(scope="module")
def straight(ground) -> Path:
    """The run that nothing happened to."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        return run(ground, ground / "straight", monkeypatch)


@pytest.fixture(scope="module")
def killed(ground) -> Path:
    """A run whose server was killed while it aggregated round 3; two rounds are finished."""
    with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(RunError, match="the run failed: exit code"):
        run(ground, ground / "killed", monkeypatch, faults=["server_3"])
    return ground / "killed"


@pytest.fixture
def interrupted(killed, tmp_path) -> Path:
    """A copy of the killed run to go on with."""
    return Path(shutil.copytree(killed, tmp_path / "run"))


def summary_of(results: Path) -> RunSummary:
    return RunSummary.model_validate_json((results / "summary.json").read_text())


def models(results: Path) -> list[dict[str, np.ndarray]]:
    files = [next((results / which).rglob("model.pt")) for which in ("last", "best")]
    return [{k: v.numpy() for k, v in torch.load(file, weights_only=True).items()} for file in files]


def assert_same_run(resumed: Path, straight: Path) -> None:
    """Bit-equal models, the same figures of every round, and the same choice."""
    for ours, theirs in zip(models(resumed), models(straight), strict=True):
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    ours, theirs = summary_of(resumed), summary_of(straight)
    figures = [[(r.round, r.selection_metric, r.global_loss) for r in summary.rounds] for summary in (ours, theirs)]
    assert figures[0] == figures[1]
    assert ours.choice == theirs.choice
    assert [model.metrics for model in ours.final] == [model.metrics for model in theirs.final]


def states(run_folder: Path) -> list[Path]:
    return sorted((run_folder / RESULTS / STUDY).glob("round_*"))


def test_a_server_killed_while_it_aggregates_leaves_two_states_and_no_process(killed):
    assert [path.name[:12] for path in states(killed)] == ["round_000001", "round_000002"]
    lingering = [p for p in psutil.process_iter(["cmdline"]) if str(killed) in " ".join(p.info["cmdline"] or [])]
    assert lingering == []


def test_after_a_kill_the_resumed_run_equals_the_one_that_nothing_happened_to(
    ground, interrupted, straight, monkeypatch
):
    results = run(ground, interrupted, monkeypatch, resume=True)
    assert_same_run(results, straight)
    assert summary_of(results).notes == ["The run was interrupted, and went on after round 2."]
    assert states(interrupted) == [], "nothing is left to go on with"
    with pytest.raises(SettingsError, match="--resume needs the folder of an interrupted run, got 'run'"):
        run(ground, interrupted, monkeypatch, resume=True)
    for site in SITES:
        own = interrupted / site / "simulate_job" / "fedxai" / "ledger.jsonl"
        found = compare(own, results / "ledger.jsonl", site=site)
        assert found.agrees, found
        left = {part.kind: part.messages for part in Ledger(own).totals()}
        assert (left["survey"], left["update"]) == (2, ROUNDS + 1), "one round was trained twice, and both updates left"
        [sent] = [shown.outgoing for shown in summary_of(results).sites if shown.name == site]
        assert sent == Ledger(own).totals(), "P counts what left before the kill as well"


def test_a_damaged_state_is_recognised_and_the_one_before_it_used(ground, interrupted, straight, monkeypatch):
    newest = states(interrupted)[-1]
    newest.write_bytes(newest.read_bytes()[:-1000])
    results = run(ground, interrupted, monkeypatch, resume=True)
    assert_same_run(results, straight)
    assert summary_of(results).notes == [
        "The run was interrupted, and went on after round 1; the newer state after round 2 was damaged."
    ]


def test_other_settings_are_refused_in_one_sentence_and_the_state_stays(ground, interrupted, monkeypatch):
    before = states(interrupted)
    with pytest.raises(RunError, match="study short cannot be resumed: server.num_rounds was 3 and is 4; "):
        run(ground, interrupted, monkeypatch, resume=True, rounds=4)
    assert states(interrupted) == before


def test_a_site_killed_in_training_ends_the_round_and_joins_again_when_the_run_is_resumed(
    ground, tmp_path, monkeypatch
):
    with pytest.raises(RunError, match="round 2 got 1 usable updates and needs 2"):
        run(ground, tmp_path / "run", monkeypatch, faults=["site-2_2"], patience=3)
    results = run(ground, tmp_path / "run", monkeypatch, resume=True)
    assert [len(r.sites) for r in summary_of(results).rounds] == [2, 2, 2]


def test_a_full_disk_ends_the_run_with_one_sentence_and_keeps_what_was_there(ground, tmp_path, monkeypatch):
    if os.geteuid():
        pytest.skip("a small disk is made by mounting one, which only root may")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", disk], check=True)
    try:
        with pytest.raises(RunError, match="the run failed: the server cannot save the global model, no space left"):
            run(ground, disk / "run", monkeypatch, faults=["full_2"])
        loaded = StudyStore(disk / "run" / RESULTS / STUDY).load()
        assert loaded is not None
        assert (loaded.state.round, loaded.damaged) == (1, [])
        assert verify(disk / "run" / RESULTS / "ledger.jsonl").intact
        assert not [path for path in disk.rglob("*") if ".part" in path.name or path.suffix == ".tmp"]
    finally:
        subprocess.run(["umount", disk], check=True)
