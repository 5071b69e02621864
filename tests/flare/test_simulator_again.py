# SPDX-License-Identifier: Apache-2.0
"""What a run left is in its workspace or under earlier/, whenever it is killed."""

from pathlib import Path

import pytest
from nvflare.private.fed.app.simulator.simulator_runner import SimulatorRunner

from fedxai.errors import SettingsError
from fedxai.flare.simulate import run_job
from fedxai.flare.simulator_again import SimulatorAgain

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
