# SPDX-License-Identifier: Apache-2.0
# FLARE's attributes and headers are typed as None until the job starts.
# pyright: reportOptionalMemberAccess=false, reportArgumentType=false
"""How the server asks its sites: how long it waits, what it keeps of their answers, and how a failure ends the job."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.workflows.scatter_and_gather import ScatterAndGather

from fedxai.errors import FedxaiError, ReleaseError, RunError, SettingsError
from fedxai.flare.admission import Admission, server_settings
from fedxai.flare.failure import FailureNote
from fedxai.flare.home import LEDGER, home, run_folder
from fedxai.flare.messages import read_summary, reason_of
from fedxai.flare.metrics import Endpoint, RunCollector
from fedxai.flare.recorder import NO_ANSWER, Recorder
from fedxai.flare.witness import record_arrival, set_head
from fedxai.intake.cohort import site_cohorts
from fedxai.privacy.ledger import Ledger
from fedxai.records import Record

R = TypeVar("R", bound=Record)


class AskingController(ScatterAndGather):
    """ScatterAndGather that also asks for typed summaries, and keeps a ledger of all that arrives.

    Args:
        patience: seconds to wait, at least, for the remaining sites once enough have answered; where three times the
            slowest answer to such a task is longer, that is waited.
        first_patience: the same for the first task of its kind, when nobody knows yet how long it takes; also the
            least time that later tasks are given before too few answers are taken for all there will be.
        flare: arguments of ScatterAndGather.
    """

    def __init__(self, *, patience: int, first_patience: int, **flare: Any) -> None:
        super().__init__(**flare)
        self._patience = patience
        self._first_patience = first_patience
        self._slowest: dict[str, float] = {}
        self._abort = Signal()
        self._ledger: Ledger | None = None
        self._recorder: Recorder | None = None
        self._folder = Path()
        self._failure: FailureNote | None = None
        self._admission: Admission | None = None
        self._refusals = 0
        self._endpoint: Endpoint | None = None

    @property
    def recorder(self) -> Recorder:
        """The notebook of this run."""
        if self._recorder is None:
            raise RunError("the run has not started")
        return self._recorder

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Leave the sentence that ended the job, whoever ended it."""
        super().handle_event(event_type, fl_ctx)
        if event_type == EventType.END_RUN and self._endpoint is not None:
            self._endpoint.close()
        if event_type != EventType.FATAL_SYSTEM_ERROR:
            return
        reason = str(fl_ctx.get_prop(FLContextKey.EVENT_DATA))
        try:
            if self._failure_note(fl_ctx).write(reason):
                self._ended_early(reason)
        except (OSError, FedxaiError) as error:
            self.logger.error(f"the server cannot write its results: {error}")

    def _open_metrics(self, fl_ctx: FLContext) -> None:
        """Let Prometheus read the run where the server's settings name a port; a run never ends for its sake."""
        try:
            port = server_settings(fl_ctx)[0].metrics_port
            if port is not None:
                collector = RunCollector(self.recorder, rounds=self._num_rounds, refused=lambda: self._refusals)
                self._endpoint = Endpoint(collector, port)
        except SettingsError as error:
            self.logger.warning(f"no figures for Prometheus: {error}")

    def _ended_early(self, reason: str) -> None:
        """What a workflow leaves besides the sentence."""

    def _failure_note(self, fl_ctx: FLContext) -> FailureNote:
        """Made when first needed, because a component can end the job before the workflow begins."""
        if self._failure is None:
            self._folder = run_folder(fl_ctx)
            self._folder.mkdir(parents=True, exist_ok=True)
            self._failure = FailureNote(self._folder)
            self._failure.reserve()
        return self._failure

    def _server_ledger(self, fl_ctx: FLContext) -> Ledger:
        """The record of what arrived, in all jobs."""
        if self._ledger is None:
            self._ledger = Ledger(home(fl_ctx) / LEDGER)
        return self._ledger

    @contextmanager
    def _panicking(self, fl_ctx: FLContext) -> Iterator[None]:
        """What this package refuses, or a disk that takes no more, ends the job as failed with one sentence."""
        try:
            yield
        except FedxaiError as error:
            self.system_panic(str(error), fl_ctx)
        except OSError as error:
            self.system_panic(f"the server cannot write its results: {error.strerror}", fl_ctx)

    def _arrived(
        self, site: str, task: str, round_: int, result: Shareable, fl_ctx: FLContext, weights: Any = None
    ) -> ReleaseError | None:
        """Judge an answer, and enter it into the server's ledger and into the notebook.

        Returns:
            Why it is refused, if it is.
        """
        refused = self._refused(site, task, result, weights, fl_ctx) if reason_of(result) is None else None
        job, ledger = str(fl_ctx.get_job_id()), self._server_ledger(fl_ctx)
        payload = record_arrival(ledger, result, site=site, task=task, round_=round_, job=job, refused=refused)
        self.recorder.received(site, payload.kind, payload.size, payload.case_records)
        self._refusals += refused is not None
        return refused

    def _refused(self, site: str, task: str, result: Shareable, weights: Any, fl_ctx: FLContext) -> ReleaseError | None:
        if self._admission is None:
            self._admission = Admission(self.recorder.bundle, server_settings(fl_ctx)[0])
        try:
            self._admission.check(result, task, site=site, weights=weights)
        except ReleaseError as error:
            self.log_error(fl_ctx, f"{site}'s answer to {task} is refused: {error}", fire_event=False)
            return error
        return None

    def _ask(
        self, task: str, message: Shareable, kind: type[R], fl_ctx: FLContext, *, everybody: bool = False
    ) -> tuple[dict[str, R], dict[str, str]]:
        """Broadcast a task; return the sites' typed answers, and the reasons of those that gave none.

        Every site of the run is in one of the two, also one that is gone or went on in silence.
        """
        answers: dict[str, R] = {}
        failures: dict[str, str] = {}
        start = time.monotonic()
        round_ = int(message.get_header(AppConstants.CURRENT_ROUND))
        set_head(message, self._server_ledger(fl_ctx).head())

        def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
            site, result = client_task.client.name, client_task.result
            self._slowest[task] = max(self._slowest.get(task, 0.0), time.monotonic() - start)
            refused = None
            with self._panicking(fl_ctx):
                refused = self._arrived(site, task, round_, result, fl_ctx)
            try:
                if reason := reason_of(result):
                    raise RunError(reason)
                if refused:
                    raise refused
                answers[site] = read_summary(result, kind)
            except FedxaiError as error:
                failures[site] = str(error)
            client_task.result = None

        clients = self._engine.get_clients()
        asked = {client.name for client in clients} | self.recorder.surveys.keys()
        wait = self._patience_for(task)
        self.broadcast_and_wait(
            task=Task(name=task, data=message, result_received_cb=received, timeout=self._limit_for(task)),
            fl_ctx=fl_ctx,
            min_responses=len(clients) if everybody else self._min_clients,
            wait_time_after_min_received=wait,
            abort_signal=self._abort,
        )
        failures |= dict.fromkeys(sorted(asked - answers.keys() - failures.keys()), NO_ANSWER)
        notes = [f"Task {task}: nothing from {site} ({why})." for site, why in failures.items()]
        self.recorder.notes += [note for note in notes if note not in self.recorder.notes]
        return dict(sorted(answers.items())), failures  # not in the order in which they came

    def _patience_for(self, task: str) -> int:
        """Seconds to wait for the rest: long while nobody is known to be gone, then by the slowest answer so far."""
        if task in self._slowest:
            return math.ceil(max(self._patience, 3 * self._slowest[task]))
        someone_gone = bool(self.recorder.rounds and self.recorder.rounds[-1].missing)
        return math.ceil(max(self._patience, 3 * max(self._slowest.values()))) if someone_gone else self._first_patience

    def _limit_for(self, task: str) -> int:
        """Seconds after which a task ends though too few answered; 0, no limit, while nobody knows how long it takes.

        FLARE's servers notice sites that are gone; its simulator does not, and would wait for ever.
        """
        if task not in self._slowest:
            return 0
        return math.ceil(max(self._first_patience, self._slowest[task] + self._patience_for(task)))


def check_sites(root: Path, sites: list[str]) -> None:
    """Hold the simulated sites against the cohorts folder.

    Raises:
        RunError: when they have other names.
    """
    cohorts = sorted(site_cohorts(root))
    if sites != cohorts:
        raise RunError(
            f"the run has {', '.join(sites)} and the cohorts folder has {', '.join(cohorts)}; "
            f"start the simulator with -c {','.join(cohorts)}"
        )
