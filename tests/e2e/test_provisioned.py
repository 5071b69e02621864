# SPDX-License-Identifier: Apache-2.0
"""A provisioned deployment: server and three sites as real processes, over mutual TLS on 127.0.0.1."""

import contextlib
import json
import os
import re
import shutil
import signal
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pexpect
import psutil
import pytest
import torch
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from nvflare.lighter.utils import Identity, generate_cert, serialize_cert
from typer.testing import CliRunner

from fedxai.bundle.trained import find_trained
from fedxai.cli import app
from fedxai.errors import RunError
from fedxai.flare import deploy
from fedxai.flare.doctor import clock, connection
from fedxai.flare.kit import Kit, edit_json, kits, person
from fedxai.flare.pack import pack_job
from fedxai.flare.provision import provision
from fedxai.flare.simulate import run_job
from fedxai.flare.watch import Progress, follow, look
from fedxai.privacy.compare import compare
from fedxai.records import RunSummary

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SMALL = {
    "settings": {"num_rounds": 1, "explain_every": 0, "seed": 3},
    "train": {"local_steps": 1, "seed": 3},
}
PROMPT = r"\r\n> $"


@pytest.fixture(scope="module")
def deployment(repository, tmp_path_factory, free_port):
    """Up and running; its server is one that lets everybody bring code, so that what refuses it is the sites."""
    folder = tmp_path_factory.mktemp("deployment") / "ours"
    provision(repository / "poc_workspace" / "project.yml", folder, port=free_port())
    deploy.settle(folder, cases=30)
    edit_json(kit(folder, "localhost").folder / "local" / "authorization.json", let_code_pass)
    with one_thread():
        deploy.up(folder)
    try:
        yield folder
    finally:
        deploy.down(folder)


@pytest.fixture(scope="module")
def lead(deployment):
    return person(deployment, "lead")


@pytest.fixture(scope="module")
def console_run(deployment, lead, repository):
    """The packed job, sent, followed and fetched in FLARE's admin console, as a person types it."""
    pack_job(repository / "jobs" / "fedxai", lead.folder / "transfer" / "small", **SMALL)
    console = pexpect.spawn(
        str(lead.folder / "startup" / "fl_admin.sh"),
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TERM": "dumb"},
        encoding="utf-8",
        timeout=60,
        dimensions=(50, 160),
    )
    console.expect("User Name: ")
    console.sendline(lead.name)
    console.expect(PROMPT)
    said = {}

    def typed(command: str) -> str:
        console.sendline(command)
        console.expect(PROMPT)
        said[command.split(maxsplit=1)[0]] = console.before
        return console.before

    try:
        typed("check_status server")
        job = re.search(r"Submitted job: (\S+)", typed("submit_job small")).group(1)
        typed("cat site-1 local/fedxai.json")
        typed("ls site-1")
        with deploy.session(lead) as session:
            seen = list(follow(session, job, every=0.5))
        typed("list_jobs")
        typed(f"download_job {job}")
        server = kit(deployment, "localhost").folder / "fedxai" / "ledger.jsonl"
        said["ledgers"] = [
            compare(site / "fedxai" / "ledger.jsonl", server, site=site.name) for site in sites(deployment)
        ]
        again = re.search(r"Submitted job: (\S+)", typed("submit_job small")).group(1)
        with deploy.session(lead) as session:
            next(look for look in follow(session, again, every=0.5) if look.busy)
            console.sendline(f"abort_job {again}")
            console.expect(r"\(y/N\): ")
            typed("y")
            *_, aborted = follow(session, again, every=0.5)
        said["abort_job"] = aborted.status
        console.sendline("bye")
        console.expect(pexpect.EOF)
    finally:
        console.close(force=True)
    return said, seen, lead.folder / "transfer" / job


def test_the_console_shows_three_sites_and_a_completed_job(console_run):
    said, seen, _ = console_run
    assert "Registered clients: 3" in said["check_status"]
    assert seen[-1].completed, seen[-1]
    assert "FINISHED:COMPLETED" in said["list_jobs"]


def test_the_console_aborts_a_job_that_runs(console_run):
    said, _, _ = console_run
    assert said["abort_job"] == "FINISHED:ABORTED"


def test_the_watch_command_says_how_a_job_ended(console_run, lead):
    _, seen, _ = console_run
    done = CliRunner().invoke(app, ["watch", "--kit", str(lead.folder), seen[-1].job])
    assert done.exit_code == 0, done.output
    assert "FINISHED:COMPLETED" in " ".join(done.output.split())


def test_ledgers_of_sites_and_server_tell_of_the_same_messages_and_know_each_others_places(console_run):
    said, _, _ = console_run
    for found in said["ledgers"]:
        assert found.agrees, found
        assert found.agreed == found.heads > 0
        assert found.told == found.agreed


def test_whoever_watches_sees_rounds_and_what_each_site_is_at(console_run):
    _, seen, _ = console_run
    assert any(look.round == look.rounds == 1 for look in seen)
    assert {site for look in seen for site in look.busy} == {"site-1", "site-2", "site-3"}


@pytest.mark.parametrize("command", ["cat", "ls"])
def test_nobody_reads_a_sites_files_from_the_console(console_run, command):
    said, _, _ = console_run
    assert f"is not authorized for '{command}'" in said[command]


def test_the_downloaded_result_is_the_simulators_with_the_same_seeds(
    console_run, deployment, repository, explaining, little, tmp_path
):
    _, _, downloaded = console_run
    [report] = downloaded.rglob("report.html")
    ours = summary(report.parent)
    with one_thread():
        job = explaining(repository / "jobs" / "fedxai", tmp_path, **little)
        simulated = summary(run_job(job, out=tmp_path / "run", cohorts=deployment / "cohorts", **SMALL))
    assert [model.metrics for model in ours.final] == [model.metrics for model in simulated.final]
    assert [site.metrics for site in ours.sites] == [site.metrics for site in simulated.sites]
    assert ours.rounds[0].global_loss == simulated.rounds[0].global_loss


def test_every_site_keeps_the_best_model_where_its_desk_finds_it(console_run, deployment):
    _, _, downloaded = console_run
    [best] = downloaded.rglob("best/*/models/model.pt")
    wanted = torch.load(best, weights_only=True)
    for site in ("site-1", "site-2", "site-3"):
        [bundle] = deployment.rglob(f"{site}/fedxai/model/*/")
        found = find_trained(str(bundle), "best").weights
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted), site


def test_a_site_refuses_a_job_that_carries_code_even_where_the_server_lets_it_pass(
    deployment, lead, repository, tmp_path
):
    job = pack_job(repository / "jobs" / "fedxai", tmp_path / "stowaway", **SMALL)
    (job / "app" / "custom").mkdir()
    (job / "app" / "custom" / "harmless.py").write_text("print('hello')\n")
    with deploy.session(lead) as session:
        *_, last = follow(session, session.submit_job(str(job)), every=0.5)
    assert last.status == "FINISHED:FAILED_TO_RUN"
    for site in ("site-1", "site-2", "site-3"):
        assert f"{site}: NVFLARE_ERROR: BYOC not permitted" in last.reasons
    assert not [file for folder in sites(deployment) for file in folder.rglob("harmless.py")]


@pytest.mark.parametrize("damage", [None, "app/config/config_fed_client.json"])
def test_a_job_that_is_not_signed_or_was_changed_since_runs_nowhere(lead, repository, tmp_path, monkeypatch, damage):
    from nvflare.fuel.hci.client import file_transfer

    job = pack_job(repository / "jobs" / "fedxai", tmp_path / "forged", **SMALL)
    sign = file_transfer.sign_folders

    def forge(folder: str, *key: object) -> None:
        if damage:
            sign(folder, *key)
            edit_json(Path(folder) / damage, explain_little)

    monkeypatch.setattr(file_transfer, "sign_folders", forge)
    with deploy.session(lead) as session:
        *_, last = follow(session, session.submit_job(str(job)), every=0.5)
    assert last.status == "FINISHED:FAILED_TO_RUN"
    refusal = "does not pass signature verification" if damage else "unsigned job rejected"
    assert [reason for reason in last.reasons if reason.startswith("server: ") and refusal in reason], last.reasons


def test_a_kit_of_another_authority_is_refused(deployment, repository, tmp_path):
    port = int(kit(deployment, "localhost").startup["servers"][0]["service"]["target"].rpartition(":")[2])
    stranger = tmp_path / "stranger"
    provision(repository / "poc_workspace" / "project.yml", stranger, port=port)
    found = connection(kit(stranger, "site-1"))
    assert not found.passed
    assert "certificate is not accepted" in found.found
    impostor = kit(stranger, "site-1")  # one that trusts our server, and shows the stranger's certificate
    shutil.copy(kit(deployment, "site-1").folder / "startup" / "rootCA.pem", impostor.folder / "startup")
    assert "does not accept this kit's certificate" in connection(impostor).found
    with (
        pytest.raises(RunError, match="does not let lead@consortium.org in"),
        deploy.session(person(stranger, "lead"), timeout=2),
    ):
        pass


def test_an_expired_certificate_of_our_own_authority_is_refused(deployment, tmp_path):
    folder = tmp_path / "site-1"
    shutil.copytree(kit(deployment, "site-1").folder / "startup", folder / "startup")
    assert connection(Kit.open(folder)).passed
    expire(deployment, Kit.open(folder))
    found = connection(Kit.open(folder))
    assert not found.passed
    assert "does not accept this kit's certificate" in found.found


def test_a_clock_ten_minutes_off_is_seen_from_the_servers_news(lead):
    now = datetime.now(timezone.utc)
    assert clock(lead, now=now).passed
    assert not clock(lead, now=now + timedelta(minutes=10)).passed


def test_a_site_killed_in_training_costs_its_own_round_only_and_comes_back(deployment, lead, repository, tmp_path):
    job = pack_job(
        repository / "jobs" / "fedxai",
        tmp_path / "longer",
        settings={"num_rounds": 2, "explain_every": 0, "patience": 5},
        train={"local_steps": 10},
    )
    edit_json(job / "app" / "config" / "config_fed_client.json", explain_little)
    with deploy.session(lead) as session:
        sent = session.submit_job(str(job))
        while not at(look(session, sent), round_=2, site="site-3", task="train"):
            time.sleep(0.1)
        victim = psutil.Process(int((kit(deployment, "site-3").folder / "pid.fl").read_text()))
        for process in [*victim.children(recursive=True), victim]:
            os.kill(process.pid, signal.SIGKILL)
        *_, last = follow(session, sent, every=0.5)
        assert last.status == "FINISHED:ABNORMAL", (
            "what FLARE calls a job that a site left, though all results are there"
        )
        result = summary(next(Path(session.download_job_result(sent)).rglob("summary.json")).parent)
        assert [len(round_.sites) for round_ in result.rounds] == [3, 2]
        there = {client.name for client in session.get_system_info().client_info}
    assert there == {"site-1", "site-2", "site-3"}


def test_all_stop_in_an_orderly_way_and_no_process_is_left(deployment):
    family = [process for part in kits(deployment) for process in deploy.processes(part)]
    assert len(family) >= 8, "server and three sites, each with FLARE's daemon"
    assert deploy.down(deployment) == [], "none had to be ended by force"
    assert not [process for process in family if process.is_running()]


def kit(deployment: Path, name: str) -> Kit:
    return next(found for found in kits(deployment) if found.name == name)


def sites(deployment: Path) -> list[Path]:
    return [found.folder for found in kits(deployment) if found.kind == "site"]


def summary(folder: Path) -> RunSummary:
    return RunSummary.model_validate_json((folder / "summary.json").read_text())


def at(seen: Progress, *, round_: int, site: str, task: str) -> bool:
    assert not seen.ended, seen
    return seen.round == round_ and seen.busy.get(site) == task


def let_code_pass(policy: dict) -> None:
    policy["permissions"]["lead"]["byoc"] = "any"


def explain_little(config: dict) -> None:
    config["components"][0]["args"]["explain"] = {"final_cases": 4, "trust_cases": 0, "honesty_cases": 0, "gallery": 0}


def expire(deployment: Path, copy: Kit) -> None:
    """Give the kit a certificate for its own key that the deployment's authority signed, and that ended yesterday."""
    [state] = deployment.glob("*/state/cert.json")
    key = load_pem_private_key(json.loads(state.read_text())["root_pri_key"].encode(), password=None)
    now = datetime.now(timezone.utc)
    ended = generate_cert(
        subject=Identity(copy.name, "hospital_1"),
        issuer=Identity("fedxai"),
        signing_pri_key=key,
        subject_pub_key=copy.certificate.public_key(),
        not_valid_before=now - timedelta(days=30),
        not_valid_after=now - timedelta(days=1),
    )
    (copy.folder / "startup" / "client.crt").write_bytes(serialize_cert(ended))


@contextlib.contextmanager
def one_thread():
    """Sites and simulator with one thread of PyTorch each: sums in the same order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
