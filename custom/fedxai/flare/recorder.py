# SPDX-License-Identifier: Apache-2.0
"""The server's notebook of a run: who answered what in which round, and the summary made of it."""

import importlib.metadata
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Literal

from fedxai.bundle import Bundle
from fedxai.combine.choice import both_rules
from fedxai.combine.honesty import pooled_honesty, won_by_construction
from fedxai.combine.shortcut_alarm import find_shortcuts
from fedxai.combine.site_agreement import site_agreements
from fedxai.combine.summaries import pooled_classes, pooled_confusion, pooled_methods, pooled_metrics, pooled_outgoing
from fedxai.combine.weights import global_mean
from fedxai.privacy.ledger import privacy_score
from fedxai.records import (
    E_SCORE,
    HEADLINE_METHOD,
    Absence,
    Choice,
    Evaluations,
    Explanation,
    Figure,
    ModelSummary,
    Outgoing,
    RoundSummary,
    RunSummary,
    ShortcutSearch,
    SiteRound,
    SiteSummary,
    Survey,
    Timing,
)

NO_ANSWER = "no answer in time"
_PACKAGES = ("fedxai-med", "torch", "monai", "nvflare", "captum", "numpy")


class Recorder:
    """Collects what sites answered; knows nothing of FLARE."""

    def __init__(self, *, bundle: Bundle, job: str, settings: Mapping[str, Any], key_metric: str) -> None:
        self.bundle = bundle
        self.job = job
        self.settings = dict(settings)
        self.key_metric = key_metric
        self.surveys: dict[str, Survey] = {}
        self.rounds: list[RoundSummary] = []
        self.models: list[ModelSummary] = []
        self.notes: list[str] = []
        self.outgoing: dict[str, list[Outgoing]] = {}
        self.choice: Choice | None = None
        self._metrics: dict[int, float] = {}  # of the model after so many rounds
        self._sites: dict[str, SiteRound] = {}
        self._missing: dict[str, str] = {}
        self._update_bytes = 0
        self._started = time.time()
        self._round_started = self._started
        self._round_seconds = 0.0
        self._explaining = 0.0

    @property
    def training_cases(self) -> dict[str, int]:
        """n_k of every site (Eq. 2)."""
        return {site: survey.cases.training for site, survey in self.surveys.items()}

    def notebook(self) -> dict[str, Any]:
        """What another recorder needs to go on with this run, as JSON knows it."""
        return {
            "surveys": {site: survey.model_dump(mode="json") for site, survey in self.surveys.items()},
            "rounds": [summary.model_dump(mode="json") for summary in self.rounds],
            "notes": self.notes,
            "outgoing": {
                site: [part.model_dump() for part in pooled_outgoing(parts)] for site, parts in self.outgoing.items()
            },
            "metrics": {str(round_): metric for round_, metric in self._metrics.items()},
            "explaining": self._explaining,
            "seconds": time.time() - self._started,
        }

    def go_on(self, notebook: Mapping[str, Any]) -> None:
        """Take up the run that another recorder's notebook tells of."""
        self.surveys = {site: Survey.model_validate(survey) for site, survey in notebook["surveys"].items()}
        self.rounds = [RoundSummary.model_validate(summary) for summary in notebook["rounds"]]
        self.notes = list(notebook["notes"])
        self.outgoing = {
            site: [Outgoing.model_validate(part) for part in parts] for site, parts in notebook["outgoing"].items()
        }
        self._metrics = {int(round_): metric for round_, metric in notebook["metrics"].items()}
        self._explaining = notebook["explaining"]
        self._started = time.time() - notebook["seconds"]

    def begin_round(self) -> None:
        """A round begins."""
        self._sites, self._missing, self._update_bytes = {}, {}, 0
        self._round_started = time.time()

    def received(self, site: str, kind: str, size: int, case_records: int = 0) -> None:
        """A message of ``size`` bytes left ``site``, with so many single cases told in it."""
        part = Outgoing(kind=kind, messages=1, bytes=size, case_records=case_records)
        self.outgoing.setdefault(site, []).append(part)
        if kind == "update":
            self._update_bytes += size

    def accepted(self, site: str, report: SiteRound) -> None:
        """A site's update was taken into the average."""
        self._sites[site] = report

    def absent(self, site: str, reason: str) -> None:
        """A site gave no usable update in this round."""
        self._missing[site] = reason

    def trained(self) -> None:
        """The round's training is over; what follows is averaging and explaining."""
        self._round_seconds = time.time() - self._round_started

    @property
    def usable(self) -> int:
        """How many sites' updates were taken in this round so far."""
        return len(self._sites)

    @property
    def reasons(self) -> str:
        """Who was missing in this round and why, in one line."""
        return "; ".join(f"{site}: {reason}" for site, reason in sorted(self._missing.items()))

    def finish_round(self, round_: int, explanations: Mapping[str, Explanation]) -> RoundSummary:
        """Close the round's page; sites that never answered are noted as such."""
        for site in self.surveys.keys() - self._sites.keys() - self._missing.keys():
            self._missing[site] = NO_ANSWER
        sites = [
            report.model_copy(update={"explanation": explanations.get(site)})
            for site, report in sorted(self._sites.items())
        ]
        before = {report.name: report.validation for report in sites}
        metric = self.mean_over_sites(self.key_metric, before)
        if round_:  # before the first round there is no model to choose
            self._metrics[round_] = metric
        summary = RoundSummary(
            round=round_ + 1,
            sites=sites,
            missing=[Absence(name=site, reason=reason) for site, reason in sorted(self._missing.items())],
            global_loss=self.mean_over_sites("loss", before),
            selection_metric=metric,
            update_bytes=self._update_bytes,
            seconds=self._round_seconds,
        )
        self.rounds.append(summary)
        self.notes += [f"Round {summary.round}: {a.name} gave no usable update ({a.reason})." for a in summary.missing]
        return summary

    def mean_over_sites(self, metric: str, figures: Mapping[str, Mapping[str, Figure]]) -> float:
        """A metric's mean over the sites that reported it, weighted by n_k; of the loss, Eq. 3."""
        values = {site: named[metric].value for site, named in figures.items() if metric in named}
        return global_mean({k: v for k, v in values.items() if v is not None}, self.training_cases)

    def e_of(self, explanations: Mapping[str, Explanation], *, before: float | None = None) -> float | None:
        """E (gradient x input, relevance mass) over the sites; ``before`` where nobody scored a case."""
        for method in pooled_methods(list(explanations.values())):
            if method.method == HEADLINE_METHOD:
                value = method.scores[E_SCORE].value
                return before if value is None else value
        return before

    def choose(
        self, chosen: int, metric: float, explanations: Mapping[str, Explanation], e_floor: float | None
    ) -> None:
        """Record which model was chosen, and which one the metric alone would have.

        Args:
            chosen: after so many rounds the chosen model stood.
            metric: of the model after the last round; the others' stand in the rounds, of the model each began with.
            explanations: of the model after the last round, on the validation cases.
            e_floor: the floor on E.
        """
        last = len(self.rounds)
        e = {summary.round: self.e_of(explanations_in(summary)) for summary in self.rounds}
        e[last] = self.e_of(explanations)
        self.choice = both_rules(
            {**self._metrics, last: metric},
            {round_: value for round_, value in e.items() if value is not None},
            chosen=chosen,
            key_metric=self.key_metric,
            e_floor=e_floor,
        )

    def explained(self, seconds: float) -> None:
        """The sites explained for so long."""
        self._explaining += seconds

    def model(
        self,
        which: Literal["last", "best"],
        round_: int,
        figures: Mapping[str, Evaluations],
        explanations: Mapping[str, Explanation],
    ) -> None:
        """Figures of a final model on the sites' test cases."""
        evaluations = {site: answer.test for site, answer in figures.items()}
        tested = list(evaluations.values())
        methods = pooled_methods(list(explanations.values()))
        honesty = pooled_honesty([answer.honesty for answer in explanations.values() if answer.honesty])
        self.models.append(
            ModelSummary(
                which=which,
                round=round_,
                metrics=pooled_metrics(tested),
                confusion=pooled_confusion(tested),
                explanation=methods,
                evaluations=evaluations,
                explanations=dict(explanations),
                honesty=honesty,
                classes=pooled_classes(list(explanations.values())),
                shortcuts=self._shortcuts(explanations),
                site_agreement=site_agreements({site: answer.places for site, answer in explanations.items()}),
                by_construction=won_by_construction(methods, honesty),
            )
        )
        for site, answer in sorted(explanations.items()):
            if answer.left_out:
                self.notes.append(f"{site}: {', '.join(answer.left_out)} cannot explain the {which} model here.")

    def _shortcuts(self, explanations: Mapping[str, Explanation]) -> ShortcutSearch | None:
        """Sites and classes for which the model looks where it does not look elsewhere."""
        places = {site: answer.places for site, answer in explanations.items()}
        return find_shortcuts(places, class_names=self.bundle.class_names) if any(places.values()) else None

    def seconds_left(self, rounds: int) -> float:
        """A guess from the mean round so far."""
        done = len(self.rounds)
        return (time.time() - self._started) / done * (rounds - done) if done else float("nan")

    def summary(self) -> RunSummary:
        """Everything that the run leaves to read."""
        shown = self.models[-1] if self.models else None
        left = {site: pooled_outgoing(parts) for site, parts in self.outgoing.items()}
        total = time.time() - self._started
        return RunSummary(
            job=self.job,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            versions={name: importlib.metadata.version(name) for name in _PACKAGES},
            settings=self.settings,
            bundle=self.bundle.identity,
            sites=[
                SiteSummary(
                    name=site,
                    cases=survey.cases,
                    metrics=shown.evaluations.get(site) if shown else None,
                    explanation=shown.explanations.get(site) if shown else None,
                    outgoing=left.get(site, []),
                    holding=survey.holding,
                )
                for site, survey in sorted(self.surveys.items())
            ],
            rounds=self.rounds,
            final=self.models,
            choice=self.choice,
            bytes=pooled_outgoing(part for parts in left.values() for part in parts),
            privacy=privacy_score(
                (part for parts in left.values() for part in parts),
                (survey.holding for survey in self.surveys.values()),
            ),
            timing=Timing(
                total=total,
                training=sum(r.seconds or 0.0 for r in self.rounds),
                explaining=self._explaining,
            ),
            notes=self.notes,
        )


def explanations_in(summary: RoundSummary) -> dict[str, Explanation]:
    """What the sites whose update was taken in this round said of the model, by site."""
    return {report.name: report.explanation for report in summary.sites if report.explanation is not None}
