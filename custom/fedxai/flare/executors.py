# SPDX-License-Identifier: Apache-2.0
# FLARE's attributes and headers are typed as None until the job starts.
# pyright: reportOptionalMemberAccess=false, reportArgumentType=false
"""The site's executors: one trains and validates the bundle, one explains it; both answer with summaries only."""

from abc import abstractmethod
from collections.abc import Sequence

from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.app_constant import AppConstants
from nvflare.fuel.utils.memory_utils import cleanup_memory

from fedxai.errors import FedxaiError, RunError
from fedxai.flare.explaining import explain_final, explain_round, question, round_agreement
from fedxai.flare.messages import ROLE, read_dxo, refusal, summary_message, update_message
from fedxai.flare.site import Site
from fedxai.privacy.release import least_cases, released_evaluation, released_explanation
from fedxai.privacy.statistics import released_statistics
from fedxai.records import Evaluations, Explanation, SiteRound
from fedxai.whole_file import write_whole


class _SiteExecutor(Executor):
    """Runs a task at the site, and turns a failure into one sentence; `fedxai.flare.gate` judges and records it."""

    tasks: tuple[str, ...] = ()

    def __init__(self, site: str = "site") -> None:
        super().__init__()
        self._site_id = site

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Answer a task of the server."""
        if task_name not in self.tasks:
            return make_reply(ReturnCode.TASK_UNKNOWN)
        try:
            component = fl_ctx.get_engine().get_component(self._site_id)
            if not isinstance(component, Site):
                raise RunError(f"component {self._site_id!r} must be a Site, got {type(component).__name__}")
            site = component.enter(fl_ctx)
            reply = self.answer(task_name, site, shareable, abort_signal)
        except FedxaiError as error:
            self.log_error(fl_ctx, f"{task_name}: {error}", fire_event=False)
            reply = refusal(error)
        except Exception as error:
            self.log_exception(fl_ctx, f"{task_name} failed", fire_event=False)
            reply = refusal(error)
        if abort_signal.triggered:
            return make_reply(ReturnCode.TASK_ABORTED)
        return reply

    @abstractmethod
    def answer(self, task: str, site: Site, message: Shareable, abort_signal: Signal) -> Shareable:
        """What this executor answers to ``task``."""


class TrainExecutor(_SiteExecutor):
    """Answers ``survey``, ``train``, ``validate`` and ``submit_model``."""

    tasks = (AppConstants.TASK_TRAIN, AppConstants.TASK_VALIDATION, AppConstants.TASK_SUBMIT_MODEL, "survey")

    def answer(self, task: str, site: Site, message: Shareable, abort_signal: Signal) -> Shareable:
        """See the class."""
        if task == "survey":
            if not message.get_header(AppConstants.CURRENT_ROUND):
                site.begin_anew()
            return summary_message(site.survey())
        if task == AppConstants.TASK_VALIDATION:
            return self._validate(site, message)
        if task == AppConstants.TASK_SUBMIT_MODEL:
            raise RunError("submit_model: a site's own model does not leave it; train under FedAvg instead")
        return self._train(site, message, abort_signal)

    def _train(self, site: Site, message: Shareable, abort_signal: Signal) -> Shareable:
        round_ = int(message.get_header(AppConstants.CURRENT_ROUND))
        weights = read_dxo(message).data
        validation = {}
        if round_ % site.trainer.settings.validate_every == 0:
            before = site.trainer.evaluate("validation", weights, intervals=False)
            minimum = site.settings.minimum_cell
            validation = released_evaluation(before, minimum, site.patients["validation"]).metrics
        update = site.trainer.train(
            weights,
            round_=round_,
            rounds=int(message.get_header(AppConstants.NUM_ROUNDS)),
            stop=lambda: abort_signal.triggered,
        )
        enough = site.trainer.training_cases >= least_cases(site.settings.minimum_cell, site.patients["training"])
        report = SiteRound(
            name=site.name,
            training_loss=update.loss if enough else None,
            validation=validation,
            steps=update.steps,
            seconds=update.seconds,
        )
        cleanup_memory(cuda_empty_cache=True)  # a trainer is a cycle; without this a site grows by a model a round
        return update_message(update.difference, report, cases=site.trainer.training_cases)

    def _validate(self, site: Site, message: Shareable) -> Shareable:
        site.trainer.load(read_dxo(message).data)
        minimum, patients = site.settings.minimum_cell, site.patients
        before = site.trainer.evaluate("validation", intervals=False)
        validation = released_evaluation(before, minimum, patients["validation"])
        test = released_evaluation(site.trainer.evaluate("test"), minimum, patients["test"])
        return summary_message(Evaluations(validation=validation, test=test))


class ExplainExecutor(_SiteExecutor):
    """Answers ``explain``: maps are made and kept in the site, figures are returned."""

    tasks = ("explain",)

    def answer(self, task: str, site: Site, message: Shareable, abort_signal: Signal) -> Shareable:
        """See the class."""
        role, round_ = str(message.get_header(ROLE)), int(message.get_header(AppConstants.CURRENT_ROUND))
        site.trainer.load(read_dxo(message).data)
        explanation = self._examine(site, role)
        if role == "round":
            agreement = round_agreement(site.trainer, site.explain, site.explained_before, round_)
            explanation = explanation.model_copy(update={"agreement": agreement})
        else:
            self._keep_model(site)
        patients = site.patients[explanation.split]
        return summary_message(released_explanation(explanation, site.settings.minimum_cell, patients))

    def _examine(self, site: Site, role: str) -> Explanation:
        final, trainer = role != "round", site.trainer
        asked, refused = question(trainer, "test" if final else "validation")
        self._say_once(site, [f"{name} is left out: {reason}" for name, reason in refused.items()])
        explanation = (
            explain_final(trainer, site.explain, asked, site.folder / f"gallery_{role}", root=site.cohort.folder)
            if final
            else explain_round(trainer, site.explain, asked)
        )
        return explanation.model_copy(update={"left_out": list(refused)})

    def _keep_model(self, site: Site) -> None:
        """For the site's own desk; of a job's final models the best one comes last. The answer matters more."""
        try:
            site.keep_model()
        except OSError as error:
            why = error.strerror or "its files cannot be written"
            self.logger.warning(f"{site.name}: the model could not be kept ({why}); the desk keeps the old one")

    def _say_once(self, site: Site, sentences: Sequence[str]) -> None:
        """Once a run, remembered in a file: the simulator may begin a process for every task."""
        file = site.folder / "left_out.txt"
        said = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        new = [sentence for sentence in sentences if sentence not in said]
        for sentence in new:
            self.logger.warning(sentence)
        if new:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, "".join(f"{sentence}\n" for sentence in [*said, *new]).encode())


class StatisticsExecutor(_SiteExecutor):
    """Answers ``statistics``: what the site's training cases are like, without a model."""

    tasks = ("statistics",)

    def answer(self, task: str, site: Site, message: Shareable, abort_signal: Signal) -> Shareable:
        """See the class."""
        patients = site.patients["training"]
        return summary_message(released_statistics(site.statistics(), site.settings.minimum_cell, patients))
