# SPDX-License-Identifier: Apache-2.0
"""What a running job does, asked from the server through FLARE's admin API as the console does."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from nvflare.fuel.flare_api.api_spec import JobNotFound, JobNotRunning, NoConnection, NoReply, SessionClosed
from nvflare.fuel.flare_api.flare_api import Session

from fedxai.errors import RunError, SettingsError

PATIENCE = 120.0  # seconds that a server which stalls is waited for
_NOT_RUN = "FINISHED:FAILED_TO_RUN"
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Progress:
    """One look at a job.

    ``round`` counts from 1 and is 0 before the first; ``busy`` names the task that each working site is at; ``started``
    is when the server began to run it, or to send it out where it is DISPATCHED, in seconds since 1970 by its clock.
    """

    job: str
    name: str
    status: str
    round: int = 0
    rounds: int = 0
    busy: dict[str, str] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    started: float | None = None

    @property
    def ended(self) -> bool:
        """Whether the job runs no more."""
        return self.status.startswith("FINISHED") or self.status in ("ABANDONED", "FAILED")

    @property
    def completed(self) -> bool:
        """Whether it did what it was asked."""
        return self.status == "FINISHED:COMPLETED"


def newest_job(session: Session) -> str:
    """The id of the job that was submitted last.

    Raises:
        SettingsError: when the server has none.
        RunError: when the server does not answer.
    """
    jobs = _ask(lambda: session.list_jobs(limit=0))
    if not jobs:
        raise SettingsError("the server has no job; submit one with submit_job in the admin console")
    return max(jobs, key=lambda job: job["submit_time"])["job_id"]


def again(session: Session, job: str) -> str:
    """Submit an interrupted job once more: its study goes on after the last finished round.

    FLARE takes up no job of a server that was killed, and calls it RUNNING, or DISPATCHED where it was about to run,
    for ever: it is one that was started before the server was. What the server lists as running does not tell: a
    finished job is not in that list either, and stays RUNNING while its sites' last outcomes are waited for, up to 15
    minutes.

    Returns:
        The new job's id.

    Raises:
        SettingsError: when the job still runs or did all it was asked, or the server knows none of that id.
        RunError: when the server does not answer.
    """
    seen = _ask(lambda: look(session, job))
    if not (seen.ended or (seen.status in ("RUNNING", "DISPATCHED") and _left_behind(session, seen))):
        raise SettingsError(f"job {job} is {seen.status}, and only a job that runs no more can be resumed")
    if seen.completed:
        raise SettingsError(f"job {job} did all it was asked, so nothing is to be resumed; submit it anew")
    return session.clone_job(job)


def follow(session: Session, job: str, *, every: float = 2.0, patience: float = PATIENCE) -> Iterator[Progress]:
    """Look at a job every so many seconds until it has ended; a server that stalls is waited for.

    Args:
        session: an open session of the admin API.
        job: id of the job.
        every: seconds between two looks.
        patience: seconds without any answer after which to give up.

    Raises:
        SettingsError: when the server knows no job of that id.
        RunError: when the server gave no answer for that long, or closed the session.
    """
    while True:
        seen = _ask(lambda: look(session, job), every=every, patience=patience)
        if seen.status == _NOT_RUN and not seen.reasons:  # FLARE writes down the reasons after the status
            time.sleep(every)
            seen = _ask(lambda: look(session, job), every=every, patience=patience)
        yield seen
        if seen.ended:
            return
        time.sleep(every)


def look(session: Session, job: str) -> Progress:
    """The job as it is now.

    Raises:
        SettingsError: when the server knows no job of that id.
    """
    try:
        meta = session.get_job_meta(job)
    except JobNotFound as error:
        raise SettingsError(f"the server knows no job {job}; see list_jobs in the admin console") from error
    workflow = _workflow(session, job) if meta["status"] == "RUNNING" else {}
    busy = {site: task for task, sites in workflow.get("tasks", {}).items() for site in sites}
    rounds, current = int(workflow.get("num_rounds") or 0), workflow.get("current_round")
    return Progress(
        job=job,
        name=str(meta.get("name", "")),
        status=str(meta["status"]),
        round=0 if current is None else min(int(current) + 1, rounds),
        rounds=rounds,
        busy=dict(sorted(busy.items())),
        reasons=tuple(meta.get("job_deploy_detail") or ()) if meta["status"] == _NOT_RUN else (),
        started=_started(meta),
    )


def _started(meta: Mapping[str, Any]) -> float | None:
    if meta.get("start_time"):
        return datetime.fromisoformat(meta["start_time"]).timestamp()
    # FLARE writes these two together, after the status; without the first, the time may be of an earlier attempt
    if meta["status"] == "DISPATCHED" and meta.get("job_deploy_detail"):
        return meta.get("last_schedule_time")
    return None


def _ask(question: Callable[[], Answer], *, every: float = 2.0, patience: float = PATIENCE) -> Answer:
    deadline = time.monotonic() + patience
    while True:
        try:
            return question()
        except (NoConnection, NoReply) as error:
            if time.monotonic() >= deadline:
                raise RunError(f"the server has not answered for {patience:g} s; ask again later") from error
        except SessionClosed as error:
            raise RunError("the server closed the session; ask again once it is up") from error
        time.sleep(every)


def _left_behind(session: Session, seen: Progress) -> bool:
    """Whether an earlier process of the server ran the job; both times are of the server's clock."""
    up = _ask(session.get_system_info).server_info.start_time
    return seen.started is not None and seen.started < up


def _workflow(session: Session, job: str) -> dict[str, Any]:
    try:
        stats = session.show_stats(job, "server").get("server")
    except (JobNotFound, JobNotRunning, NoConnection, NoReply):  # it starts, ends, or is too busy to answer in time
        return {}
    groups = stats.values() if isinstance(stats, dict) else ()
    return next((group for group in groups if isinstance(group, dict) and "num_rounds" in group), {})
