# SPDX-License-Identifier: Apache-2.0
# FLARE's attributes and headers are typed as None until the job starts.
# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false, reportOptionalSubscript=false, reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false
"""The server's workflow: FLARE's ScatterAndGather, with a survey before, explanations between, a report after."""

import math
import time
from pathlib import Path
from typing import Any

from nvflare.apis.controller_spec import ClientTask
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import JobMetaKey
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.model import ModelLearnableKey
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType

from fedxai.errors import RunError
from fedxai.flare.admission import server_bundle
from fedxai.flare.aggregator import FedAvgAggregator
from fedxai.flare.asking import AskingController, check_sites
from fedxai.flare.home import PROGRESS
from fedxai.flare.job_settings import shown_settings
from fedxai.flare.messages import ROLE, read_site_round, reason_of, weights_message
from fedxai.flare.persistor import BundlePersistor
from fedxai.flare.recorder import NO_ANSWER, Recorder, explanations_in
from fedxai.flare.selector import ModelSelector
from fedxai.flare.study import Study
from fedxai.flare.witness import set_head
from fedxai.records import Evaluations, Explanation, Survey
from fedxai.report.console import print_summary, round_line
from fedxai.report.events import Events
from fedxai.report.files import write_files
from fedxai.report.run_report import write_report
from fedxai.settings import cohorts_root
from fedxai.train.key_metric import check_key_metric


class ExplainedScatterAndGather(AskingController):
    """FedAvg rounds, explained: survey, rounds of ``train`` (and ``explain``), then ``validate`` and ``explain``.

    Args:
        bundle: name of the MONAI bundle; every site must run the same digest.
        num_rounds: federated rounds.
        min_clients: a round with fewer usable updates ends the run; at most the number of sites.
        explain_every: explain after round 1 and after every so many rounds; 0: only the final models.
        patience: seconds to wait, at least, for the remaining sites once ``min_clients`` have answered; where three
            times the slowest answer to such a task is longer, that is waited.
        first_patience: the same for the first task of its kind, when nobody knows yet how long it takes.
        settings: what the report shows under settings, besides what it finds in the job's configuration.
        cohorts: simulator only: the folder with one cohort per site.
        study: name under which the run's state outlives a job; default: the job's.
        resume: go on from the study's unfinished state, if it has one.
    """

    def __init__(
        self,
        bundle: str,
        num_rounds: int,
        min_clients: int = 2,
        explain_every: int = 2,
        patience: int = 60,
        first_patience: int = 3600,
        settings: dict[str, Any] | None = None,
        cohorts: str | None = None,
        study: str | None = None,
        resume: bool = True,
    ) -> None:
        super().__init__(
            patience=patience,
            first_patience=first_patience,
            min_clients=min_clients,
            num_rounds=num_rounds,
            aggregator_id="aggregator",
            persistor_id="persistor",
            shareable_generator_id="shareable_generator",
            snapshot_every_n_rounds=0,
            ignore_result_error=True,  # who failed and why is judged at the end of the round, with all reasons at hand
            task_check_period=0.1,
        )
        self._bundle_name = bundle
        self._explain_every = explain_every
        self._settings = settings or {}
        self._cohorts = cohorts
        self._study_name = study
        self._resume = resume
        self._asked = 0.0
        self._best: tuple[int, dict[str, Any]] | None = None

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Run the whole workflow; whatever keeps it from doing what it was asked ends the job as failed."""
        self._abort = abort_signal
        with self._panicking(fl_ctx):
            self._prepare(fl_ctx)
            self._survey(fl_ctx)
            self._go_on(fl_ctx)
            super().control_flow(abort_signal, fl_ctx)
            if not abort_signal.triggered:
                self._finish(fl_ctx)

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Hook into the rounds of ScatterAndGather."""
        super().handle_event(event_type, fl_ctx)
        with self._panicking(fl_ctx):
            if event_type == AppEventType.ROUND_STARTED:
                self.recorder.begin_round()
                self._asked = time.monotonic()
                self._wait_time_after_min_received = self._patience_for(self.train_task_name)
                self._train_timeout = self._limit_for(self.train_task_name)
            elif event_type == AppEventType.BEFORE_AGGREGATION:
                self._check_round()
            elif event_type == AppEventType.GLOBAL_BEST_MODEL_AVAILABLE:
                self._best = (fl_ctx.get_prop(AppConstants.CURRENT_ROUND), self._weights())
            elif event_type == AppEventType.ROUND_DONE:
                self._end_round(fl_ctx)

    def _prepare(self, fl_ctx: FLContext) -> None:
        self._failure_note(fl_ctx)
        meta = fl_ctx.get_prop(FLContextKey.JOB_META) or {}
        sites = sorted(client.name for client in self._engine.get_clients())
        self._min_clients = min(self._min_clients, len(sites))
        selector = self._engine.get_component("model_selector")
        if not isinstance(selector, ModelSelector):
            raise RunError(f"component 'model_selector' must be a ModelSelector, got {type(selector).__name__}")
        selector.check()
        if not isinstance(self.aggregator, FedAvgAggregator):
            raise RunError(f"component 'aggregator' must be a FedAvgAggregator, got {type(self.aggregator).__name__}")
        self._selector = selector
        self._recorder = Recorder(
            bundle=server_bundle(self._bundle_name, fl_ctx),
            job=str(meta.get(JobMetaKey.JOB_NAME, "fedxai")),
            settings={
                **shown_settings(Path(str(fl_ctx.get_prop(FLContextKey.APP_ROOT))) / "config"),
                "rounds": self._num_rounds,
                "sites": len(sites),
                **self._settings,
            },
            key_metric=selector.key_metric,
        )
        check_key_metric(selector.key_metric, self._recorder.bundle)
        digest = self._recorder.bundle.digest
        self._study = Study(fl_ctx, name=self._study_name, resume=self._resume, digest=digest)
        self._events = Events(self._folder / "events")
        self._open_metrics(fl_ctx)
        root = cohorts_root(self._cohorts)
        if root is not None:  # named only where sites are simulated
            check_sites(root, sites)

    def _survey(self, fl_ctx: FLContext) -> None:
        """Before anything is trained, every site says what it holds; one that can't take part ends the run."""
        sites = {client.name for client in self._engine.get_clients()}
        message = Shareable()
        message.set_header(AppConstants.CURRENT_ROUND, self._study.round)
        answers, failures = self._ask("survey", message, Survey, fl_ctx, everybody=True)
        for site in sorted(sites - answers.keys()):
            raise RunError(f"{site} cannot take part: {failures.get(site, NO_ANSWER)}")
        digest = self.recorder.bundle.digest
        for site, survey in sorted(answers.items()):
            if survey.bundle_digest != digest:
                raise RunError(
                    f"{site} runs another version of bundle {self._bundle_name} (digest {survey.bundle_digest[:12]}, "
                    f"the server's is {digest[:12]}); install the same one everywhere"
                )
        self.recorder.surveys = answers

    def _go_on(self, fl_ctx: FLContext) -> None:
        """Where the study has an unfinished state, the rounds begin after its last one."""
        if self._study.loaded is None:
            return
        before, ledger = self._global_weights, self._server_ledger(fl_ctx)
        self._global_weights, self._best = self._study.go_on(before, self.recorder, self._selector, ledger)
        self._current_round = self._study.round
        fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, self._global_weights, private=True, sticky=True)
        if isinstance(self.persistor, BundlePersistor):
            self.persistor.go_on(self._weights(), self._best[1] if self._best else {}, fl_ctx)
        self.logger.info(self.recorder.notes[-1])

    def _prepare_train_task_data(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        super()._prepare_train_task_data(client_task, fl_ctx)
        with self._panicking(fl_ctx):
            set_head(client_task.task.data, self._server_ledger(fl_ctx).head())

    def _accept_train_result(
        self, client_name: str, result: Shareable, fl_ctx: FLContext, is_unknown_task: bool = False
    ) -> bool:
        self._slowest["train"] = max(self._slowest.get("train", 0.0), time.monotonic() - self._asked)
        reason = reason_of(result)
        with self._panicking(fl_ctx):
            round_ = result.get_cookie(AppConstants.CONTRIBUTION_ROUND, self._current_round)
            if refused := self._arrived(client_name, "train", round_, result, fl_ctx, self._weights()):
                self.recorder.absent(client_name, f"{type(refused).__name__}: {refused}")
                return False
        accepted = super()._accept_train_result(client_name, result, fl_ctx, is_unknown_task)
        if accepted:
            self.recorder.accepted(client_name, read_site_round(result))
        else:
            self.recorder.absent(
                client_name, reason or self.aggregator.refusals.get(client_name, "its update was refused")
            )
        return accepted

    def _check_round(self) -> None:
        self.recorder.trained()
        usable = self.recorder.usable
        if usable < self._min_clients and not self._abort.triggered:
            raise RunError(
                f"round {self._current_round + 1} got {usable} usable updates and needs {self._min_clients} "
                f"(min_clients): {self.recorder.reasons or 'no site answered'}"
            )

    def _end_round(self, fl_ctx: FLContext) -> None:
        done = self._current_round + 1
        due = self._explain_every and (done == 1 or done % self._explain_every == 0) and done < self._num_rounds
        explanations = self._explain("round", done, self._weights(), fl_ctx) if due else {}
        summary = self.recorder.finish_round(self._current_round, explanations)
        self._selector.e = self.recorder.e_of(explanations_in(summary), before=self._selector.e)
        self._events.add_round(summary)
        line = round_line(summary, self._num_rounds, self.recorder.seconds_left(self._num_rounds))
        self.logger.info(line)
        self._study.keep(self._weights(), self._best, self.recorder, self._selector, self._server_ledger(fl_ctx))
        write_files(self._folder, {PROGRESS: f"{done} {self._num_rounds}\n{line}\n".encode()})

    def _finish(self, fl_ctx: FLContext) -> None:
        """Choose the best model, test and explain the last and the best, and write what people read."""
        last = self._weights()
        figures = self._validate(last, fl_ctx)
        metric, explained = self._judge_last(last, figures, fl_ctx)
        best_round, best = self._best or (self._num_rounds, last)
        self.recorder.choose(best_round, metric, explained, self._selector.e_floor)
        explanations = self._explain("last", self._num_rounds, last, fl_ctx)
        self.recorder.model("last", self._num_rounds, figures, explanations)
        if best_round != self._num_rounds:
            figures = self._validate(best, fl_ctx)
            explanations = self._explain("best", best_round, best, fl_ctx)
        self.recorder.model("best", best_round, figures, explanations)
        self.recorder.bundle.export(self._folder / "last", last)
        self.recorder.bundle.export(self._folder / "best", best)
        self._report()
        self._study.finish()
        self._failure_note(fl_ctx).release()

    def _judge_last(
        self, last: dict[str, Any], figures: dict[str, Evaluations], fl_ctx: FLContext
    ) -> tuple[float, dict[str, Explanation]]:
        """The last model is the best one when its metric is the highest and its E is not below the floor.

        Returns:
            Its validation metric, and its explanation on the validation cases where a floor asks for one.
        """
        validation = {site: answer.validation.metrics for site, answer in figures.items()}
        metric = self.recorder.mean_over_sites(self._selector.key_metric, validation)
        if math.isnan(metric) and self._best is None and not self._selector.below_floor:
            raise RunError(
                f"model selection: no site reported {self._selector.key_metric}; choose a key_metric that the "
                "validation split of at least one site can give"
            )
        explanations: dict[str, Explanation] = {}
        if self._selector.e_floor is not None:
            explanations = self._explain("round", self._num_rounds, last, fl_ctx)
            self._selector.e = self.recorder.e_of(explanations, before=self._selector.e)
        higher = self._best is None or metric > self._selector.best_val_metric
        if higher and not self._selector.below_floor:
            fl_ctx.set_prop(AppConstants.CURRENT_ROUND, self._num_rounds, private=True, sticky=True)
            self.fire_event(AppEventType.GLOBAL_BEST_MODEL_AVAILABLE, fl_ctx)
        return metric, explanations

    def _validate(self, weights: dict[str, Any], fl_ctx: FLContext) -> dict[str, Evaluations]:
        message = weights_message(weights, round_=self._num_rounds)
        return self._ask("validate", message, Evaluations, fl_ctx)[0]

    def _explain(self, role: str, round_: int, weights: dict[str, Any], fl_ctx: FLContext) -> dict[str, Explanation]:
        start = time.monotonic()
        message = weights_message(weights, round_=round_, **{ROLE: role})
        answers = self._ask("explain", message, Explanation, fl_ctx)[0]
        self.recorder.explained(time.monotonic() - start)
        return answers

    def _weights(self) -> dict[str, Any]:
        return dict(self._global_weights[ModelLearnableKey.WEIGHTS])

    def _report(self) -> None:
        summary = self.recorder.summary()
        for model in summary.final:
            self._events.add_final(model)
        self._events.close()
        print_summary(summary, write_report(summary, self._folder))

    def _ended_early(self, reason: str) -> None:
        """Leave the report of the rounds before."""
        if self._recorder and self._recorder.rounds:
            self._recorder.notes.append(f"The run ended early: {reason}")
            self._report()
