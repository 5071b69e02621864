# SPDX-License-Identifier: Apache-2.0
"""Faults over real processes and mutual TLS: the run ends as docs/deployment.md says, and costs a round at most."""

import contextlib
import os
import runpy
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from fedxai.errors import RunError
from fedxai.flare import deploy
from fedxai.flare.kit import Kit, edit_json, kits, person
from fedxai.flare.pack import pack_job
from fedxai.flare.provision import provision
from fedxai.flare.watch import Progress, again, follow, look
from fedxai.privacy.audit import verify
from fedxai.records import RunSummary

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(os.geteuid()), reason="small disks are mounted, which only root may"),
]
Line = runpy.run_path(str(Path(__file__).with_name("line.py")))["Line"]


class Ground:
    """A running deployment, its faults, and its lead."""

    def __init__(self, folder: Path, marks: Path, line: Any, repository: Path) -> None:
        self.folder, self.marks, self.line, self.repository = folder, marks, line, repository
        self.lead = person(folder, "lead")

    def kit(self, name: str) -> Kit:
        return next(found for found in kits(self.folder) if found.name == name)

    def job(self, name: str, *, rounds: int, patience: int = 8) -> Path:
        """The packed job with little to do, whose executor and aggregator can be struck."""
        job = pack_job(
            self.repository / "jobs" / "fedxai",
            self.folder.parent / "jobs" / name,
            settings={"num_rounds": rounds, "explain_every": 0, "patience": patience},
            train={"local_steps": 1},
        )
        edit_json(job / "app" / "config" / "config_fed_client.json", plant_at_site)
        edit_json(job / "app" / "config" / "config_fed_server.json", plant_at_server)
        return job

    def mark(self, what: str, who: str, round_: int, content: str = "") -> Path:
        mark = self.marks / f"{what}_{who}_{round_}"
        mark.write_text(content)
        return mark

    def kill(self, *names: str) -> None:
        """SIGKILL to all processes of those kits at once, as when the machine loses its power."""
        for process in [process for name in names for process in deploy.processes(self.kit(name))]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        for name in names:
            wait_for(lambda name=name: not deploy.processes(self.kit(name)), f"{name} is gone")

    def result(self, job: str) -> RunSummary:
        with deploy.session(self.lead) as session:
            [file] = Path(session.download_job_result(job)).rglob("summary.json")
        return RunSummary.model_validate_json(file.read_text())

    def half_written(self) -> list[Path]:
        """Files that somebody began and nobody ended, in what this package keeps."""
        return [
            path
            for part in kits(self.folder)
            for path in (part.folder / "fedxai").rglob("*")
            if ".part" in path.name or path.suffix == ".tmp"
        ]


@pytest.fixture(scope="module")
def ground(repository, tmp_path_factory, free_port) -> Iterator[Ground]:
    root = tmp_path_factory.mktemp("faults")
    marks = root / "marks"
    (root / "python").mkdir()
    marks.mkdir()
    shutil.copy(Path(__file__).with_name("planted.py"), root / "python")
    server, proxy = free_port(), free_port()
    project = yaml.safe_load((repository / "poc_workspace" / "project.yml").read_text())
    for participant in project["participants"]:
        if participant["name"] == "site-2":
            participant["connect_to"] = {"host": "localhost", "port": proxy}
    (root / "project.yml").write_text(yaml.safe_dump(project))
    provision(root / "project.yml", root / "ours", port=server)
    deploy.settle(root / "ours", cases=30)
    for part in kits(root / "ours"):
        if part.kind != "person":
            edit_json(part.folder / "local" / "resources.json", allow_planted)
    line = Line(proxy, server)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("FAULTS", str(marks))
        patch.setenv("PYTHONPATH", str(root / "python"))
        deploy.up(root / "ours")
        try:
            yield Ground(root / "ours", marks, line, repository)
        finally:
            deploy.down(root / "ours")
            line.close()


@pytest.fixture(autouse=True)
def nothing_lingers(ground) -> Iterator[None]:
    """A test that failed leaves neither its faults nor its job to the next."""
    yield
    for left in ground.marks.iterdir():
        left.unlink()
    with contextlib.suppress(RunError), deploy.session(ground.lead) as session:
        for running in session.get_system_info().job_info:
            session.abort_job(running.job_id)


@pytest.fixture(scope="module")
def bad_week(ground) -> RunSummary:
    """A run in which something else goes wrong in every round but the first and the last."""
    disk = ground.kit("site-2").folder / "fedxai"
    with small_disk(disk, "32m"), deploy.session(ground.lead) as session:
        ground.mark("nan", "site-3", 2)
        slow, filler = ground.mark("hold", "site-1", 3), disk / "filler"
        ground.mark("fill", "site-2", 4, str(filler))
        ends = {slow: ground.mark("hold", "server", 3), filler: ground.mark("hold", "server", 4)}
        job = session.submit_job(str(ground.job("bad_week", rounds=5, patience=20)))
        for fault, held in ends.items():  # mended before the next round begins, however slow the machine
            wait_for((ground.marks / f"reached_{held.name}").is_file, f"{fault.name} has cost its round")
            fault.unlink()
            held.unlink()
        *_, seen = follow(session, job, every=0.5)
        assert seen.completed, seen
        found = verify(disk / "ledger.jsonl")
        assert found.intact, found
        assert not ground.half_written()
    return ground.result(job)


def absent(summary: RunSummary, round_: int) -> dict[str, str]:
    return {absence.name: absence.reason for absence in summary.rounds[round_ - 1].missing}


def test_what_goes_wrong_at_one_site_costs_that_site_its_round_only(bad_week):
    assert [len(round_.sites) for round_ in bad_week.rounds] == [3, 2, 2, 2, 3]


def test_an_update_that_is_not_finite_is_refused_by_the_sites_own_gate(bad_week):
    assert list(absent(bad_week, 2)) == ["site-3"]
    assert "not finite" in absent(bad_week, 2)["site-3"]


def test_a_site_slower_than_the_patience_is_left_out_and_its_late_update_is_not_taken(bad_week):
    assert absent(bad_week, 3) == {"site-1": "no answer in time"}


def test_a_site_whose_disk_is_full_gives_no_update_and_is_back_when_there_is_room(bad_week):
    assert list(absent(bad_week, 4)) == ["site-2"]


def test_a_line_dropped_for_half_a_minute_costs_nothing_when_the_patience_is_longer(ground):
    held = ground.mark("hold", "site-2", 2)
    with deploy.session(ground.lead) as session:
        job = session.submit_job(str(ground.job("dropped", rounds=2, patience=120)))
        wait_for((ground.marks / f"reached_{held.name}").is_file, "site-2 has trained")
        ground.line.drop()
        held.unlink()
        time.sleep(30)
        ground.line.restore()
        *_, last = follow(session, job, every=0.5)
    assert last.completed, last
    assert [len(round_.sites) for round_ in ground.result(job).rounds] == [3, 3]


def test_server_and_site_killed_while_it_aggregates_go_on_after_the_last_finished_round(ground):
    job, last = crash(ground, "killed", "localhost", "site-3", rounds=2)
    assert last.completed, last
    result = ground.result(job)
    assert [len(round_.sites) for round_ in result.rounds] == [3, 3]
    assert "The run was interrupted, and went on after round 1." in result.notes


def test_a_server_killed_and_its_newest_state_damaged_costs_one_round_more(ground):
    job, last = crash(ground, "damaged", "localhost", rounds=3, damage=True)
    assert last.completed, last
    assert (
        "The run was interrupted, and went on after round 1; the newer state after round 2 was damaged."
        in ground.result(job).notes
    )


def test_a_copy_of_a_sites_kit_is_not_counted_in_a_running_job_and_the_site_is_back_without_it(ground, tmp_path):
    site, server = ground.kit("site-3"), ground.kit("localhost")
    copy = Kit.open(shutil.copytree(site.folder, tmp_path / site.name, ignore=shutil.ignore_patterns("*.fl", "fedxai")))
    log, held = server.folder / "log.txt", ground.mark("hold", site.name, 1)
    before = len(log.read_text())
    with deploy.session(ground.lead) as session:
        job = session.submit_job(str(ground.job("copied", rounds=1)))
        wait_for(lambda: look(session, job).status == "RUNNING", "the job runs")
        with running(copy):
            wait_for(lambda: "site-3 already registered" in log.read_text()[before:], "the copy is let in")
            held.unlink()
            wait_for((server.folder / "fedxai" / "studies" / "copied").is_dir, "the round is over")
        *_, last = follow(session, job, every=0.5)
    assert last.ended  # completed, or abnormal where FLARE did not hear how it ended at the site
    result = ground.result(job)
    assert [[report.name for report in round_.sites] for round_ in result.rounds] == [["site-1", "site-2", "site-3"]]
    assert [sorted(model.evaluations) for model in result.final] == [["site-1", "site-2", "site-3"]] * 2
    assert not (copy.folder / "fedxai").exists()
    wait_for(lambda: "Re-activate the client: site-3" in log.read_text()[before:], "the site is back")


def test_a_full_disk_at_the_server_ends_the_job_with_one_sentence_and_it_goes_on_when_there_is_room(ground):
    studies = ground.kit("localhost").folder / "fedxai" / "studies"
    with deploy.session(ground.lead) as session:
        with small_disk(studies, "64k"):
            job = session.submit_job(str(ground.job("full", rounds=1)))
            *_, last = follow(session, job, every=0.5)
            assert last.status == "FINISHED:EXECUTION_EXCEPTION"
            [failed] = Path(session.download_job_result(job)).rglob("failed.txt")
            assert failed.read_text() == "the server cannot write its results: No space left on device\n"
            assert not ground.half_written()
        *_, last = follow(session, again(session, job), every=0.5)
    assert last.completed, last


def test_at_the_end_no_process_is_left_and_no_file_is_half_written(ground):
    family = [process for part in kits(ground.folder) for process in deploy.processes(part)]
    assert deploy.down(ground.folder) == []
    assert not [process for process in family if process.is_running()]
    here = str(ground.folder)
    assert not [p for p in psutil.process_iter(["cmdline"]) if here in " ".join(p.info["cmdline"] or [])]
    assert not ground.half_written()
    for part in kits(ground.folder):
        if part.kind != "person":
            assert verify(part.folder / "fedxai" / "ledger.jsonl").intact, part.name


def crash(ground: Ground, name: str, *killed: str, rounds: int, damage: bool = False) -> tuple[str, Progress]:
    """Kill what is named while the server aggregates the last round, start it again, and submit the job again."""
    held = ground.mark("hold", "server", rounds)
    with deploy.session(ground.lead) as session:
        job = session.submit_job(str(ground.job(name, rounds=rounds)))
        wait_for((ground.marks / f"reached_{held.name}").is_file, "the server aggregates")
    ground.kill(*killed)
    held.unlink()
    states = sorted((ground.kit("localhost").folder / "fedxai" / "studies" / name).iterdir())
    assert [int(state.name[6:12]) for state in states] == list(range(max(1, rounds - 2), rounds))
    if damage:
        states[-1].write_bytes(states[-1].read_bytes()[:-1000])
    deploy.up(ground.folder)
    with deploy.session(ground.lead) as session:
        resumed = again(session, job)
        *_, last = follow(session, resumed, every=0.5)
    return resumed, last


@contextlib.contextmanager
def running(kit: Kit) -> Iterator[None]:
    """One more site, stopped with FLARE's stop file."""
    deploy.start(kit)
    try:
        yield
    finally:
        (kit.folder / "shutdown.fl").touch()
        _, stubborn = psutil.wait_procs(deploy.processes(kit), timeout=60)
        for process in stubborn:
            process.kill()


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A disk of its own over what lies in the folder, which is moved onto it and back."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def plant_at_site(config: dict) -> None:
    config["components"][0]["args"]["explain"] = {"final_cases": 2, "trust_cases": 0, "honesty_cases": 0, "gallery": 0}
    config["executors"][0]["executor"]["path"] = "planted.Executor"


def plant_at_server(config: dict) -> None:
    next(c for c in config["components"] if c["id"] == "aggregator")["path"] = "planted.Aggregator"


def allow_planted(resources: dict) -> None:
    resources["class_allow_list"] = [*resources["class_allow_list"], "planted."]


def wait_for(reached: Callable[[], bool], what: str, *, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.1)
