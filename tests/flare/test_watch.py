# SPDX-License-Identifier: Apache-2.0
"""What is told of a job whose status and figures FLARE gives at different moments; tests/e2e watches real ones."""

from types import SimpleNamespace

import pytest
from nvflare.apis.job_def import JobMetaKey, RunStatus
from nvflare.fuel.flare_api.api_spec import JobNotFound, JobNotRunning, NoConnection, NoReply, SessionExpired

from fedxai.errors import RunError, SettingsError
from fedxai.flare.watch import again, follow, look, newest_job

SERVER_STARTED = 1_000.0
BEFORE, AFTER = "1970-01-01T00:16:39+00:00", "1970-01-01T00:16:41+00:00"
RUNNING = {"ExplainedScatterAndGather": {"current_round": 1, "num_rounds": 3, "tasks": {"train": ["site-2", "site-1"]}}}


class Server:
    """Answers as FLARE's session does: one meta after the other, and statistics or an error."""

    def __init__(self, *metas, stats=RUNNING):
        self.metas, self.stats = list(metas), stats

    def get_job_meta(self, job):
        meta = self.metas.pop(0) if len(self.metas) > 1 else self.metas[0]
        if isinstance(meta, Exception):
            raise meta
        return meta

    def show_stats(self, job, target):
        if isinstance(self.stats, Exception):
            raise self.stats
        return {"server": self.stats}

    def get_system_info(self):
        return SimpleNamespace(server_info=SimpleNamespace(start_time=SERVER_STARTED))

    def clone_job(self, job):
        return f"{job} again"

    def list_jobs(self, limit):
        if self.metas and isinstance(self.metas[0], Exception):
            raise self.metas.pop(0)
        return self.metas


def test_a_running_job_shows_its_round_and_who_is_at_what():
    seen = look(Server({"status": "RUNNING", "name": "brain"}), "j")
    assert (seen.name, seen.round, seen.rounds) == ("brain", 2, 3)
    assert seen.busy == {"site-1": "train", "site-2": "train"}
    assert not seen.ended


@pytest.mark.parametrize("stats", [{}, JobNotRunning("j"), JobNotFound("j"), NoConnection("busy")])
def test_a_job_that_starts_ends_or_is_too_busy_while_it_is_asked_has_no_round(stats):
    assert look(Server({"status": "RUNNING"}, stats=stats), "j").round == 0


def test_the_reasons_of_a_job_that_was_not_run_are_waited_for():
    late = Server(
        {"status": "FINISHED:FAILED_TO_RUN"},
        {"status": "FINISHED:FAILED_TO_RUN", "job_deploy_detail": ["site-1: BYOC not permitted"]},
    )
    [seen] = follow(late, "j", every=0)
    assert seen.reasons == ("site-1: BYOC not permitted",)
    assert seen.ended
    assert not seen.completed


def test_it_is_followed_until_it_has_ended():
    server = Server({"status": "SUBMITTED"}, {"status": "RUNNING"}, {"status": "FINISHED:COMPLETED"})
    assert [seen.status for seen in follow(server, "j", every=0)] == ["SUBMITTED", "RUNNING", "FINISHED:COMPLETED"]


def test_an_unknown_job_is_refused():
    with pytest.raises(SettingsError, match="the server knows no job j"):
        look(Server(JobNotFound("j")), "j")


def test_the_newest_job_is_the_one_submitted_last():
    assert newest_job(Server({"job_id": "b", "submit_time": 2.0}, {"job_id": "a", "submit_time": 1.0})) == "b"
    empty = Server()
    with pytest.raises(SettingsError, match="the server has no job"):
        newest_job(empty)


@pytest.mark.parametrize("status", ["ABANDONED", "FINISHED:ABNORMAL", "FINISHED:EXECUTION_EXCEPTION"])
def test_an_interrupted_job_is_submitted_again(status):
    assert again(Server({"status": status}), "j") == "j again"


def test_a_job_that_a_killed_server_left_as_running_is_submitted_again():
    assert again(Server({"status": "RUNNING", "start_time": BEFORE}, stats=JobNotRunning("j")), "j") == "j again"


@pytest.mark.parametrize("stats", [RUNNING, JobNotRunning("j")], ids=["runs", "waits for its sites' last outcomes"])
def test_a_job_of_this_server_is_not_even_when_it_has_finished_and_flare_does_not_say_so_yet(stats):
    with pytest.raises(SettingsError, match="is RUNNING"):
        again(Server({"status": "RUNNING", "start_time": AFTER}, stats=stats), "j")


def dispatched(when, *answers):
    """A job that was sent to its sites at that second, and what they answered, under the names that FLARE writes."""
    detail = {JobMetaKey.JOB_DEPLOY_DETAIL.value: list(answers)} if answers else {}
    return {"status": RunStatus.DISPATCHED.value, "start_time": "", JobMetaKey.LAST_SCHEDULE_TIME.value: when, **detail}


def test_a_job_that_a_killed_server_was_about_to_run_is_submitted_again():
    assert again(Server(dispatched(SERVER_STARTED - 1, "server: OK", "site-1: OK")), "j") == "j again"


@pytest.mark.parametrize(
    "meta",
    [
        dispatched(SERVER_STARTED + 1, "server: OK", "site-1: OK"),
        dispatched(SERVER_STARTED - 1),  # that was an attempt to find sites; the server may be sending it out now
        {"status": "DISPATCHED"},
    ],
    ids=["sent out by this server", "sent out at an unknown time", "nothing known"],
)
def test_a_job_that_this_server_may_be_about_to_run_is_not(meta):
    with pytest.raises(SettingsError, match="is DISPATCHED"):
        again(Server(meta), "j")


@pytest.mark.parametrize(("status", "why"), [("SUBMITTED", "is SUBMITTED"), ("FINISHED:COMPLETED", "did all it was")])
def test_a_job_that_waits_or_is_complete_is_not(status, why):
    with pytest.raises(SettingsError, match=why):
        again(Server({"status": status, "start_time": BEFORE}), "j")


@pytest.mark.parametrize("stall", [NoConnection("stalls"), NoReply("stalls")])
def test_a_server_that_stalls_for_a_while_is_waited_for(stall):
    server = Server({"status": "RUNNING"}, stall, stall, {"status": "FINISHED:COMPLETED"})
    assert [seen.status for seen in follow(server, "j", every=0)] == ["RUNNING", "FINISHED:COMPLETED"]


def test_a_server_that_stalls_before_the_watch_or_the_resuming_is_waited_for(monkeypatch):
    monkeypatch.setattr("fedxai.flare.watch.time.sleep", lambda seconds: None)
    assert newest_job(Server(NoConnection("stalls"), {"job_id": "a", "submit_time": 1.0})) == "a"
    assert again(Server(NoConnection("stalls"), {"status": "ABANDONED"}), "j") == "j again"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (NoConnection("gone"), "has not answered for 0.05 s; ask again later"),
        (SessionExpired("new server"), "closed the session"),
    ],
)
def test_a_server_that_stays_away_ends_the_watch_with_one_sentence(error, why):
    with pytest.raises(RunError, match=why):
        list(follow(Server(error), "j", every=0.01, patience=0.05))
