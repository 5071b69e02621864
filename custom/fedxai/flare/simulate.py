# SPDX-License-Identifier: Apache-2.0
"""Run a job folder through FLARE's simulator in a process of its own, and end that process whatever happens."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from fedxai.errors import RunError, SettingsError
from fedxai.flare.failure import FAILURE
from fedxai.flare.home import FOLDER, PROGRESS
from fedxai.flare.job_settings import CONFIG
from fedxai.intake.cohort import site_cohorts
from fedxai.settings import COHORTS_VARIABLE

EARLIER = "earlier"  # where a run that goes on has what it left before, until its workspace is set up
RESULTS = Path("server") / "simulate_job" / FOLDER
SUMMARY = "summary.json"
SURVEY = "survey.json"


def run_job(
    job: Path,
    *,
    out: Path,
    cohorts: Path | None = None,
    threads: int | None = None,
    settings: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    on_progress: Callable[[int, int, str], None] = lambda done, rounds, line: None,
) -> Path:
    """Run ``job`` with one simulated site per cohort.

    Args:
        job: a FLARE job folder whose configuration names ``bundle``, ``num_rounds``, ``seed`` ... at its top.
        out: the run's folder (FLARE's workspace); it must be new or empty, or, where ``settings`` say ``resume``, hold
            an interrupted run, which goes on after its last finished round.
        cohorts: a folder with one cohort per site; None: the embedded phantom at the sites of the job.
        threads: sites at work at a time; default: all.
        settings: values that replace those at the top of the job's configuration.
        train: values that are added to the sites' training settings.
        on_progress: called after each round with rounds done, rounds, and the round's line.

    Returns:
        The folder with ``summary.json`` and ``report.html``, or with ``survey.json`` where the job is a survey.

    Raises:
        SettingsError: when ``out`` holds something or cannot be made, or ``settings`` names what the job does not have
            or what cannot be kept.
        BundleError: when the bundle is not there.
        RunError: when a cohort cannot be used, or the run did not do what it was asked; that sentence is the server's.
    """
    check_job(job)
    resume = bool((settings or {}).get("resume"))
    earlier = _check_out(out, resume)
    folders = site_cohorts(cohorts) if cohorts else {}
    sites = sorted(folders) or _named_sites(job)
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / job.name
        prepare_job(job, prepared, sites, settings or {}, train or {})
        from fedxai.flare.preflight import check_run  # MONAI takes seconds: what the command has wrong is said before

        check_run(prepared, folders)
        log = Path(scratch) / "simulator.log"
        command = [sys.executable, "-m", "fedxai.flare.simulator", str(prepared), *(["--resume"] if resume else [])]
        command += ["-w", str(out.resolve()), "-c", ",".join(sites), "-t", str(threads or len(sites))]
        command += ["--parent", str(os.getpid())]
        environment = {**os.environ, **({COHORTS_VARIABLE: str(cohorts.resolve())} if cohorts else {})}
        if not cohorts:
            environment.pop(COHORTS_VARIABLE, None)
        try:
            code = _watch(command, environment, log, out / RESULTS, on_progress)
        finally:
            _keep_log(log, out)
    failure, result = out / RESULTS / FAILURE, _result(out / RESULTS)
    if code or failure.is_file() or not result.is_file() or result.stat().st_mtime_ns == earlier:
        reason = failure.read_text(encoding="utf-8").strip() if failure.is_file() else f"exit code {code}"
        raise RunError(f"the run failed: {reason} (log: {out.name}/simulator.log)")
    return out / RESULTS


def _result(results: Path) -> Path:
    """What the job leaves to read, whether it is there or not."""
    survey = results / SURVEY
    return survey if survey.is_file() else results / SUMMARY


def _keep_log(log: Path, out: Path) -> None:
    """Copy the log into the run's folder, whole or not at all: a full disk must not hide why the run failed."""
    if not out.is_dir() or not log.is_file():
        return
    try:
        shutil.copyfile(log, out / log.name)
    except OSError:
        (out / log.name).unlink(missing_ok=True)


def _check_out(out: Path, resume: bool) -> int | None:
    """Refuse a folder that the run can't begin, or go on, in; else when the earlier summary was written."""
    if not resume:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise SettingsError(f"--out must be a new or empty folder, got {out.name!r}, which holds something")
        above = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            raise SettingsError(f"--out must be a folder that can be made, and {above.name!r} is none to write in")
        return None
    if not any(out.glob(f"{RESULTS}/studies/*/*")) and not any(out.glob(f"{EARLIER}/server/studies/*/*")):
        raise SettingsError(f"--resume needs the folder of an interrupted run, got {out.name!r}, which holds no state")
    (out / RESULTS / FAILURE).unlink(missing_ok=True)
    summary = out / RESULTS / SUMMARY
    return summary.stat().st_mtime_ns if summary.is_file() else None


def check_job(job: Path) -> None:
    """Refuse what is no job folder before anything else is done.

    Raises:
        SettingsError: when the folder or its ``meta.json`` is not there.
    """
    if not (job / "meta.json").is_file():
        raise SettingsError(f"JOB must be a FLARE job folder with a meta.json, got {job.name!r}")


def _named_sites(job: Path) -> list[str]:
    deploy = _read(job / "meta.json")["deploy_map"]
    return [site for sites in deploy.values() for site in sites if site != "server"]


def prepare_job(
    job: Path, prepared: Path, sites: list[str], settings: Mapping[str, Any], train: Mapping[str, Any]
) -> None:
    """Copy ``job`` to ``prepared`` with these sites, settings and training settings; others stay the job's own.

    Raises:
        SettingsError: when the job has no setting of that name.
    """
    shutil.copytree(job, prepared)
    meta = _read(prepared / "meta.json")
    meta["deploy_map"] = {"app": ["server", *sites]}
    _write(prepared / "meta.json", meta)
    configs = {side: _read(prepared / CONFIG / f"config_fed_{side}.json") for side in ("server", "client")}
    unknown = [name for name in settings if not any(name in config for config in configs.values())]
    if unknown:
        raise SettingsError(f"job {job.name} has no setting {unknown[0]!r}")
    for side, config in configs.items():
        config.update({name: value for name, value in settings.items() if name in config})
        for component in config["components"]:
            if component["id"] == "site":
                given = component["args"]["train"]
                for name, value in train.items():  # of a group of settings, those that are named
                    given[name] = {**given.get(name, {}), **value} if isinstance(value, Mapping) else value
        _write(prepared / CONFIG / f"config_fed_{side}.json", config)


def _watch(
    command: list[str],
    environment: dict[str, str],
    log: Path,
    results: Path,
    on_progress: Callable[[int, int, str], None],
) -> int:
    """Start the simulator, report its rounds, and leave no process behind."""
    seen, family = 0, set()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            for tick in itertools.count():
                if process.poll() is not None:
                    break
                if tick % 10 == 0:  # looking through all processes is not free, and sites start early and stay
                    family |= _family(process)
                time.sleep(0.2)
                seen = _progress(results / PROGRESS, seen, on_progress)
            _progress(results / PROGRESS, seen, on_progress)
            return process.returncode
        finally:
            _end(process, family)


def _progress(path: Path, seen: int, on_progress: Callable[[int, int, str], None]) -> int:
    if not path.is_file():
        return seen
    first, _, line = path.read_text(encoding="utf-8").strip().partition("\n")
    if not line:
        return seen
    done, rounds = (int(number) for number in first.split())
    if done > seen:
        on_progress(done, rounds, line)
    return done


def _family(process: "subprocess.Popen[bytes]") -> set[psutil.Process]:
    """A process and all below it, as long as it lives."""
    try:
        parent = psutil.Process(process.pid)
        return {parent, *parent.children(recursive=True)}
    except psutil.NoSuchProcess:
        return set()


def _end(process: "subprocess.Popen[bytes]", family: set[psutil.Process]) -> None:
    """End a process and all that was seen below it, in an orderly way first; sites outlive a killed server."""
    family = family | _family(process)
    try:
        for member in family:
            _quietly(member.terminate)
        psutil.wait_procs(family, timeout=5)
    finally:  # also when a second Ctrl-C cuts the waiting short
        for member in family:
            _quietly(member.kill)
    process.wait()


def _quietly(action: Callable[[], None]) -> None:
    try:
        action()
    except psutil.NoSuchProcess:
        return


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=4), encoding="utf-8")
