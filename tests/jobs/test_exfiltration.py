# SPDX-License-Identifier: Apache-2.0
"""Every way out of a site, tried by a hostile executor: refused and recorded behind the gate, open without it."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fedxai.privacy.ledger import Ledger

pytestmark = pytest.mark.slow

HOSTILE = Path(__file__).with_name("hostile.py")
CONFIG = Path("app") / "config"
STREAM = "aux_communication.ObjectStreamer.Request"
REASONS = {
    "array in metrics": {"types"},
    "extra field": {"types"},
    "extra header": {"headers"},
    "extra tensor": {"tensors"},
    "wrong dtype": {"tensors"},
    "not finite": {"finite"},
    "extra meta": {"content"},
    "oversize string": {"schema"},
    "figures too fine": {"decimals"},
    "count as an image": {"counts"},
    "name of a metric": {"schema"},
    "one patient": {"small_cell"},
    "exception text": {"sentence"},
    "public property": {"headers"},
    "beside the data": {"content"},
}
DOORS = {
    "aux message": "aux_communication.canary",
    "aux broadcast below": "aux_communication.canary",
    "fed event": "aux_communication.fed.event",
    "analytics": "aux_communication.fed.event",
    "file stream": STREAM,
    "artefact download": "download_service__.download_service__download",
    "unknown channel": "canary.message",
    "raw blob": "canary.blob",
    "raw frame": "canary_frames.frame",
    "print and log": STREAM,
}


def hostile_job(main_job: Path, folder: Path, *, gate: bool) -> Path:
    """The main job with the hostile executor and the keeping server; without the gate where that is asked."""
    job = folder / "job"
    shutil.copytree(main_job, job)
    shutil.copyfile(HOSTILE, job / "app" / "custom" / "hostile.py")
    (job / "meta.json").write_text(
        json.dumps({**json.loads((job / "meta.json").read_text()), "deploy_map": {"app": ["server", "site-1"]}})
    )
    client = json.loads((job / CONFIG / "config_fed_client.json").read_text())
    site = {"path": "hostile.HostileSite", "args": {"site": "site"}}
    client["executors"] = [{"tasks": ["survey", "train", "validate", "explain"], "executor": site}]
    logs = {"id": "logs", "path": "nvflare.app_common.logging.job_log_streamer.JobLogStreamer", "args": {}}
    client["components"].append(logs)
    if not gate:
        client["components"] = [part for part in client["components"] if part["id"] != "gate"]
        client["task_data_filters"] = client["task_result_filters"] = []
    (job / CONFIG / "config_fed_client.json").write_text(json.dumps(client))
    server = json.loads((job / CONFIG / "config_fed_server.json").read_text())
    (folder / "logs").mkdir()
    receiver = "nvflare.app_common.logging.job_log_receiver.JobLogReceiver"
    server["components"] = [{"id": "receiver", "path": receiver, "args": {"dest_dir": str(folder / "logs")}}]
    keeper = {"path": "hostile.KeepingServer", "args": {"bundle": "brain_mri_tumor_classification"}}
    server["workflows"] = [{"id": "keeper", **keeper}]
    (job / CONFIG / "config_fed_server.json").write_text(json.dumps(server))
    return job


@pytest.fixture
def attacked(main_job, tmp_path):
    """Run all attacks; what has arrived at the server, and the site's ledger."""

    def attack(*, gate: bool) -> tuple[bytes, list]:
        from fedxai.intake.phantom import make_phantom

        folder = tmp_path / f"gate-{gate}"
        make_phantom(folder / "cohorts" / "site-1", site="site-1", index=0, cases=30)
        job = hostile_job(main_job, folder, gate=gate)
        command = [sys.executable, "-m", "nvflare.private.fed.app.simulator.simulator", job]
        subprocess.run(
            [*command, "-w", folder / "run", "-c", "site-1", "-t", "1"],
            env={**os.environ, "FEDXAI_COHORTS": str(folder / "cohorts")},
            capture_output=True,
            timeout=400,
            check=True,
        )
        files = [path for root in (folder / "run" / "server", folder / "logs") for path in root.rglob("*")]
        arrived = b"".join(path.read_bytes() for path in files if path.is_file())
        return arrived, list(Ledger(next((folder / "run" / "site-1").rglob("ledger.jsonl"))).entries()) if gate else []

    return attack


@pytest.fixture(scope="module")
def canaries() -> dict[str, bytes]:
    """What marks each way's content; a summary over one patient is known by its figure."""
    names = runpy.run_path(str(HOSTILE))
    ways = {way: names["canary"](way) for way in (*names["RESULTS"], *names["CHANNELS"])}
    return {**ways, "one patient": b"0.7707"}


def test_every_way_out_leaks_while_the_gate_is_off(attacked, canaries):
    arrived, _ = attacked(gate=False)
    assert [way for way, canary in canaries.items() if canary not in arrived] == []


def test_no_way_out_leaks_behind_the_gate_and_each_is_on_the_ledger(attacked, canaries):
    assert canaries.keys() == REASONS.keys() | DOORS.keys()
    arrived, entries = attacked(gate=True)
    assert [way for way, canary in canaries.items() if canary in arrived] == []
    assert b"ReleaseError" in arrived, "the sender is told"
    refused = [entry for entry in entries if entry.decision == "refused"]
    by_round = {entry.round: set() for entry in refused}
    for entry in refused:
        by_round[entry.round].add(entry.reason)
    for place, (way, reasons) in enumerate(REASONS.items()):
        assert reasons <= by_round.get(place, set()), way
    channels = [entry.channel for entry in refused if entry.channel != "task"]
    assert set(DOORS.values()) <= set(channels)
    assert channels.count("aux_communication.fed.event") >= 2
    assert all(entry.policy for entry in refused)
    assert len([entry for entry in entries if entry.kind == "update" and entry.decision == "released"]) == 0
