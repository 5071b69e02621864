# SPDX-License-Identifier: Apache-2.0
"""A whole deployment on one machine: start its kits, wait until all are connected, stop them without an orphan."""

import contextlib
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from nvflare.fuel.flare_api.flare_api import Session, new_secure_session

from fedxai.bundle import Bundle
from fedxai.bundle.approval import approve, list_for
from fedxai.errors import RunError
from fedxai.flare.kit import RESOURCES, Kit, edit_json, kits, person
from fedxai.intake.phantom import make_phantom
from fedxai.settings import SITE_FILE

CONSOLE = "console.log"
PHANTOM_CASES = 120
BUNDLE = "brain_mri_tumor_classification"
_PIDS = ("daemon_pid.fl", "pid.fl")  # FLARE's start script, and the process that it keeps alive
Step = Callable[[str], None]


def settle(deployment: Path, *, cases: int = PHANTOM_CASES, bundle: str = BUNDLE) -> None:
    """Give the server a job store of its own, every site a phantom cohort, and all of them an approved bundle.

    Args:
        deployment: the provisioner's workspace.
        cases: size of each phantom cohort.
        bundle: name of the bundle that server and sites approve as it lies here.
    """
    parts = _parts(deployment)
    for kit in parts:
        inspection = Bundle.open(bundle).inspection
        approve(inspection, list_for(inspection, kit.folder / "local"))
        if kit.kind == "server":
            keep_jobs(kit)
    for index, kit in enumerate(kit for kit in parts if kit.kind == "site"):
        cohort = deployment.resolve() / "cohorts" / kit.name
        make_phantom(cohort, site=kit.name, index=index, cases=cases)
        edit_json(kit.folder / "local" / SITE_FILE, lambda values, path=cohort: values.update(cohort=str(path)))


def keep_jobs(server: Kit) -> None:
    """Let a server keep its jobs in its own kit; FLARE's own place is below /tmp, one for all of a machine."""

    def change(values: dict[str, Any]) -> None:
        values["snapshot_persistor"]["args"]["storage"]["args"]["root_dir"] = str(server.folder / "snapshots")
        for component in values["components"]:
            if component["id"] == "job_manager":
                component["args"]["uri_root"] = str(server.folder / "jobs")

    edit_json(server.folder / "local" / RESOURCES, change)


def up(deployment: Path, *, patience: float = 120, on_step: Step = lambda line: None) -> list[str]:
    """Start what does not run of server and sites with FLARE's own scripts, and wait until every site is connected.

    Returns:
        The names of the sites.

    Raises:
        RunError: when all run already, or one is not there in time; what was started is stopped again.
    """
    parts = _parts(deployment)
    absent = [kit for kit in parts if not processes(kit)]
    if not absent:
        raise RunError("server and sites of this deployment run already; stop them with `fedxai deploy down`")
    try:
        for kit in absent:
            on_step(f"starting {kit.name}")
            start(kit)
        sites = [kit.name for kit in parts if kit.kind == "site"]
        _wait_until_connected(person(deployment, "project_admin"), sites, time.monotonic() + patience)
    except BaseException:
        _stop(_family(absent), 15)
        raise
    return sites


def start(kit: Kit) -> None:
    """Start a server or site in the background with its own ``startup/start.sh``; it writes to ``console.log``.

    Nothing may run for it. What it was is forgotten first: FLARE's script refuses to start beside any process of that
    number, also beside one that was killed and that nobody has collected yet, or beside a stranger.
    """
    for name in _PIDS:
        (kit.folder / name).unlink(missing_ok=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with (kit.folder / CONSOLE).open("ab") as log:
        subprocess.run(
            [str(kit.folder / "startup" / "start.sh")],
            cwd=kit.folder,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            check=True,
        )


def down(deployment: Path, *, patience: float = 60, on_step: Step = lambda line: None) -> list[str]:
    """Abort what runs, shut everything down through the admin API, and see that no process is left.

    Returns:
        The names of those that had to be ended by their process id, because they did not follow.
    """
    family = _family(_parts(deployment))  # looked up before anything ends: an orphan has no parent to be found by
    if not any(family.values()):
        return []
    try:
        with session(person(deployment, "project_admin")) as admin:
            for job in admin.get_system_info().job_info:
                on_step(f"aborting job {job.job_id}")
                admin.abort_job(job.job_id)
            admin.shutdown("all", wait=False)
    except Exception as error:  # the server may be gone already: FLARE's stop file does the same, part by part
        on_step(f"the server takes no command ({type(error).__name__}); each part is told by its stop file")
    return _stop(family, patience)


def processes(kit: Kit) -> list[psutil.Process]:
    """What runs for this kit: the start script's daemon, the process it keeps alive, and all of their children."""
    found: dict[int, psutil.Process] = {}
    for name in _PIDS:
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int((kit.folder / name).read_text(encoding="utf-8")))
            if str(kit.folder) in " ".join(process.cmdline()):  # a stale file may name a stranger's process
                found.update({member.pid: member for member in [process, *process.children(recursive=True)]})
    return list(found.values())


@contextmanager
def session(kit: Kit, *, timeout: float = 10) -> Iterator[Session]:
    """A session of FLARE's admin API as the person whose kit it is.

    Raises:
        RunError: when the server does not answer or does not let the person in.
    """
    host, port = kit.startup["admin"]["host"], int(kit.startup["admin"]["port"])
    if not listens(host, port):
        raise RunError(f"no server answers at {host}:{port}")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            opened = new_secure_session(kit.startup["admin"]["username"], str(kit.folder), timeout=timeout)
    except Exception as error:
        raise RunError(f"the server does not let {kit.name} in ({type(error).__name__}: {error})") from error
    try:
        yield opened
    finally:
        opened.close()


def _parts(deployment: Path) -> list[Kit]:
    return [kit for kit in kits(deployment) if kit.kind != "person"]


def listens(host: str, port: int, *, timeout: float = 2) -> bool:
    """Whether somebody takes connections there."""
    try:
        with socket.create_connection((host, port), timeout=timeout):
            return True
    except OSError:
        return False


def _wait_until_connected(admin: Kit, sites: Sequence[str], deadline: float) -> None:
    missing = list(sites)
    while missing:
        if time.monotonic() > deadline:
            raise RunError(f"{', '.join(missing)} did not connect in time; see {CONSOLE} in the kit")
        try:
            with session(admin, timeout=5) as opened:
                while missing and time.monotonic() < deadline:
                    there = {client.name for client in opened.get_system_info().client_info}
                    missing = [site for site in sites if site not in there]
                    time.sleep(0.5 if missing else 0)
        except RunError:
            time.sleep(1)


def _family(parts: Sequence[Kit]) -> dict[Kit, list[psutil.Process]]:
    return {kit: processes(kit) for kit in parts}


def _stop(family: dict[Kit, list[psutil.Process]], patience: float) -> list[str]:
    for kit, members in family.items():
        if members:
            (kit.folder / "shutdown.fl").touch()
    psutil.wait_procs([process for members in family.values() for process in members], timeout=patience)
    stubborn = {kit: [member for member in members if member.is_running()] for kit, members in family.items()}
    for member in (member for members in stubborn.values() for member in members):
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    return [kit.name for kit, members in stubborn.items() if members]
