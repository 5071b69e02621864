# SPDX-License-Identifier: Apache-2.0
"""TensorBoard scalars of a run: what each round and final model measured, for all sites and each."""

from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from fedxai.records import Figure, MethodSummary, ModelSummary, RoundSummary, SiteRound
from fedxai.report.reading import chance_of, round_scores, score_of, value_of


class Events:
    """Scalars by round, undefined values left out.

    Tags: ``global/loss``, ``global/selection_metric``, ``global/sites``, ``E_<method>/all``,
    ``E_<method>/chance``, ``E_<method>/<site>``, ``training_loss/<site>``, ``validation_<metric>/<site>``,
    ``<best or last>_<metric>/all`` and ``/<site>``.
    """

    def __init__(self, folder: Path) -> None:
        self._writer = SummaryWriter(log_dir=str(folder))

    def __enter__(self) -> "Events":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add_round(self, round_summary: RoundSummary) -> None:
        """Write one round, and flush, so that TensorBoard shows it while the run goes on."""
        step = round_summary.round
        self._add("global/loss", round_summary.global_loss, step)
        self._add("global/selection_metric", round_summary.selection_metric, step)
        self._add("global/sites", float(len(round_summary.sites)), step)
        for site in round_summary.sites:
            self._add_site(site, step)
        answers = [site.explanation for site in round_summary.sites if site.explanation is not None]
        for name in dict.fromkeys(method.method for answer in answers for method in answer.methods):
            e, chance = round_scores(round_summary, name)
            self._add(f"E_{name}/all", e, step)
            self._add(f"E_{name}/chance", chance, step)
        self._writer.flush()

    def add_final(self, model_summary: ModelSummary) -> None:
        """Write a final model's figures at the round it comes from."""
        which, step = model_summary.which, model_summary.round
        self._add_model(which, "all", step, model_summary.metrics, model_summary.explanation)
        for site in dict.fromkeys([*model_summary.evaluations, *model_summary.explanations]):
            evaluation, explanation = (
                model_summary.evaluations.get(site),
                model_summary.explanations.get(site),
            )
            metrics = evaluation.metrics if evaluation else {}
            self._add_model(which, site, step, metrics, explanation.methods if explanation else [])
        self._writer.flush()

    def close(self) -> None:
        """Finish the event file."""
        self._writer.close()

    def _add_site(self, site: SiteRound, step: int) -> None:
        self._add(f"training_loss/{site.name}", site.training_loss, step)
        for name, figure in site.validation.items():
            self._add(f"validation_{name}/{site.name}", figure.value, step)
        for method in site.explanation.methods if site.explanation else []:
            self._add(f"E_{method.method}/{site.name}", value_of(score_of(method)), step)

    def _add_model(
        self, which: str, who: str, step: int, metrics: dict[str, Figure], methods: list[MethodSummary]
    ) -> None:
        for name, figure in metrics.items():
            self._add(f"{which}_{name}/{who}", figure.value, step)
        for method in methods:
            self._add(f"{which}_E_{method.method}/{who}", value_of(score_of(method)), step)
            if who == "all":
                self._add(f"{which}_E_{method.method}/chance", value_of(chance_of(method)), step)

    def _add(self, tag: str, value: float | None, step: int) -> None:
        if value is not None:
            self._writer.add_scalar(tag, value, step)
