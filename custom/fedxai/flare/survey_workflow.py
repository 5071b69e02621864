# SPDX-License-Identifier: Apache-2.0
# FLARE's attributes and headers are typed as None until the job starts.
# pyright: reportOptionalMemberAccess=false, reportArgumentType=false
"""The server's workflow of `jobs/survey`: ask every site once what its data are like, and propose one preprocessing."""

from datetime import datetime, timezone
from pathlib import Path

from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.app_constant import AppConstants

from fedxai.combine.statistics import pooled_cases, pooled_classes, pooled_histogram, proposal
from fedxai.errors import RunError
from fedxai.flare.admission import server_bundle
from fedxai.flare.asking import AskingController, check_sites
from fedxai.flare.recorder import Recorder
from fedxai.records_statistics import DataSurvey, SiteStatistics
from fedxai.report.survey import write_survey
from fedxai.settings import cohorts_root


class SurveyController(AskingController):
    """Asks for ``statistics`` once, and writes what the sites told; nothing is trained, no weights travel.

    Args:
        bundle: name of the MONAI bundle whose classes and task the cohorts have.
        min_clients: fewer answers end the job as failed; at most the number of sites.
        first_patience: seconds to wait for the sites; each reads all of its training cases.
        cohorts: simulator only: the folder with one cohort per site.
    """

    def __init__(
        self, bundle: str, min_clients: int = 2, first_patience: int = 3600, cohorts: str | None = None
    ) -> None:
        super().__init__(patience=first_patience, first_patience=first_patience, min_clients=min_clients, num_rounds=0)
        self._bundle_name = bundle
        self._cohorts = cohorts

    def start_controller(self, fl_ctx: FLContext) -> None:
        """ScatterAndGather would ask for an aggregator and a model here, and a survey has none."""

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Run the whole workflow; whatever keeps it from doing what it was asked ends the job as failed."""
        self._abort = abort_signal
        with self._panicking(fl_ctx):
            note = self._failure_note(fl_ctx)
            self._recorder = Recorder(
                bundle=server_bundle(self._bundle_name, fl_ctx), job="survey", settings={}, key_metric=""
            )
            answers = self._statistics(fl_ctx)
            if not abort_signal.triggered:
                self._write(answers, self._folder)
                note.release()

    def _statistics(self, fl_ctx: FLContext) -> dict[str, SiteStatistics]:
        sites = sorted(client.name for client in self._engine.get_clients())
        root = cohorts_root(self._cohorts)
        if root is not None:  # named only where sites are simulated
            check_sites(root, sites)
        message = Shareable()
        message.set_header(AppConstants.CURRENT_ROUND, 0)
        answers, failures = self._ask("statistics", message, SiteStatistics, fl_ctx, everybody=True)
        wanted = min(self._min_clients, len(sites))
        if len(answers) < wanted and not self._abort.triggered:
            reasons = "; ".join(f"{site}: {reason}" for site, reason in sorted(failures.items()))
            raise RunError(
                f"{len(answers)} sites told their statistics and {wanted} must (min_clients): "
                f"{reasons or 'no site answered'}"
            )
        return dict(sorted(answers.items()))

    def _write(self, answers: dict[str, SiteStatistics], folder: Path) -> None:
        bundle = self.recorder.bundle
        preprocessing, notes = proposal(answers, task=bundle.task)
        survey = DataSurvey(
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            bundle=bundle.identity,
            sites=answers,
            cases=pooled_cases(answers.values()),
            classes=pooled_classes(answers.values()),
            histogram=pooled_histogram(answers.values()),
            preprocessing=preprocessing,
            notes=[*self.recorder.notes, *notes],
        )
        self.logger.info(f"survey of {len(answers)} sites: {write_survey(survey, folder)}")
