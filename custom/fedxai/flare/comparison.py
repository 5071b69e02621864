# SPDX-License-Identifier: Apache-2.0
"""The four systems side by side: centralised, local-only, plain federated and FedXAI-Med (Figures 2 and 3)."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fedxai.bundle import Bundle
from fedxai.errors import SettingsError
from fedxai.file_digest import sha256
from fedxai.flare.preflight import fitting_cohorts
from fedxai.flare.simulate import check_job, run_job
from fedxai.intake.cohort import DATALIST, site_cohorts
from fedxai.privacy.ledger import privacy_score
from fedxai.records import (
    SPLITS,
    Case,
    Comparison,
    Holding,
    Outgoing,
    RunSummary,
    Split,
    SystemName,
    SystemResult,
)
from fedxai.report.files import write_files
from fedxai.score.examine import examine
from fedxai.settings import ExplainSettings, GuidanceSettings, SiteSettings, TrainSettings
from fedxai.train.engine import SiteTrainer, Weights
from fedxai.train.federation import TrainingResult, train_rounds
from fedxai.train.key_metric import check_key_metric, check_measured, key_metrics

POOLED = "pooled"
_EXPLAINED = 5  # times in a run, besides the final models
_Told = Callable[[int], None]


class SystemsComparison:
    """Trains the four systems with the same optimisation steps, seeds and test cases.

    Every system starts from the same seeded weights, trains ``rounds`` times ``local_epochs`` passes over each
    training case (or ``local_steps`` steps; centralised then as many as all sites together), chooses its best model by
    its own validation cases, and is tested on the test cases of all sites together. Steps are counted: a local-only
    model takes its site's share of them. Without guidance plain federated and FedXAI-Med differ in where explanations
    are made, not in how weights are averaged, so their diagnostic figures agree where every site has
    validation cases enough for the choice of the model to hear of them; with guidance FedXAI-Med alone trains
    under it.

    Args:
        cohorts: folder with one cohort per site.
        bundle: the MONAI bundle.
        job: the FLARE job that is FedXAI-Med.
        rounds: federated rounds.
        train: how each site trains in a round; its seed is replaced, and its guidance is FedXAI-Med's alone.
        key_metric: validation metric that chooses the best model; None: the task's usual one.
        out: where results are kept; what is there already from the same comparison is not computed again.
    """

    def __init__(
        self,
        *,
        cohorts: Path,
        bundle: Bundle,
        job: Path,
        rounds: int,
        train: TrainSettings,
        out: Path,
        key_metric: str | None = None,
    ) -> None:
        check_job(job)
        self.bundle = bundle
        self.job = job
        self.cohorts_root = cohorts
        self.rounds = rounds
        self.train = train.model_copy(update={"guidance": GuidanceSettings()})  # pyright: ignore[reportCallIssue]
        self.key_metric = key_metric or key_metrics(bundle)[0]
        check_key_metric(self.key_metric, bundle)
        self.guidance = train.guidance
        self.out = out
        self.cohorts = fitting_cohorts(site_cohorts(cohorts), bundle)
        for site, cohort in self.cohorts.items():  # which chooses a model of its own, besides the one of all
            check_measured(self.key_metric, {site: cohort})
        check_measured(self.key_metric, self.cohorts, least=SiteSettings().minimum_cell)  # pyright: ignore[reportCallIssue]
        self.settings = {
            "rounds": rounds,
            "cohorts": cohorts.name,
            "bundle": bundle.name,
            "key_metric": self.key_metric,
            "guidance": "+".join(self.guidance.terms) or None,
            **train.model_dump(exclude={"seed", "threads", "guidance"}),
        }
        self._keep_settings()

    def run(
        self, seeds: int, *, on_progress: Callable[[int, int, str], None] = lambda done, total, step: None
    ) -> Comparison:
        """Train and test every system with seeds 0 to ``seeds - 1``.

        Args:
            seeds: how many.
            on_progress: called when a system begins and after its rounds, with what is done and what there is to do,
                counted in rounds of one site, and with the system; results that were there before count in neither.
        """
        systems = {
            "centralised": self._centralised,
            "local-only": self._local_only,
            "federated": self._federated,
            "FedXAI-Med": self._fedxai,
        }
        steps = [(f"results/seed{seed}-{name}.json", seed, name) for seed in range(seeds) for name in systems]
        each, done = self.rounds * len(self.cohorts), 0
        total = each * sum(not (self.out / file).is_file() for file, *_ in steps)
        results: list[SystemResult] = []
        for file, seed, name in steps:
            if not (self.out / file).is_file():
                tell = partial(_tell, on_progress, done, total, f"seed {seed}: {name}")
                tell(0)
                _write(self.out, file, [result.model_dump(mode="json") for result in systems[name](seed, tell)])
                done += each
            kept = json.loads((self.out / file).read_text(encoding="utf-8"))
            results += [SystemResult.model_validate(item) for item in kept]
        return Comparison(
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            bundle=self.bundle.identity,
            sites={name: cohort.counts() for name, cohort in self.cohorts.items()},
            settings=self.settings,
            results=results,
        )

    def _centralised(self, seed: int, tell: _Told) -> list[SystemResult]:
        together = self.train.local_steps and self.train.local_steps * len(self.cohorts)
        trainer = self._trainer(POOLED, self._pooled(), seed, local_steps=together)
        trained = self._train({POOLED: trainer}, lambda round_: tell(round_ * len(self.cohorts)))
        moved = [self._everything_moved()]
        return [self._result("centralised", seed, trained.best, trained.steps, trained.seconds, moved)]

    def _local_only(self, seed: int, tell: _Told) -> list[SystemResult]:
        results = []
        for index, (site, cohort) in enumerate(self.cohorts.items()):
            trainer = self._trainer(site, cohort.splits(), seed)
            trained = self._train({site: trainer}, lambda round_, before=index * self.rounds: tell(before + round_))
            results.append(
                self._result("local-only", seed, trained.best, trained.steps, trained.seconds, [], site=site)
            )
        return results

    def _federated(self, seed: int, tell: _Told) -> list[SystemResult]:
        trainers = {site: self._trainer(site, cohort.splits(), seed) for site, cohort in self.cohorts.items()}
        trained = self._train(trainers, lambda round_: tell(round_ * len(self.cohorts)))
        sent = [Outgoing(kind="update", messages=self.rounds * len(trainers), bytes=trained.update_bytes)]
        return [self._result("federated", seed, trained.best, trained.steps, trained.seconds, sent)]

    def _fedxai(self, seed: int, tell: _Told) -> list[SystemResult]:
        start = time.perf_counter()
        guided = self.train.model_copy(update={"guidance": self.guidance})
        train = guided.model_dump(mode="json", exclude={"seed"}, exclude_none=True)
        run = self.out / "runs" / f"seed{seed}"
        shutil.rmtree(run, ignore_errors=True)  # a run that an interrupted comparison left
        results = run_job(
            self.job,
            out=run,
            cohorts=self.cohorts_root,
            settings={
                "bundle": self.bundle.name,
                "num_rounds": self.rounds,
                "explain_every": max(2, self.rounds // _EXPLAINED),
                "seed": seed,
                "key_metric": self.key_metric,
                "validate_every": self.train.validate_every,
            },
            train={**train, "seed": seed},
            on_progress=lambda done, *_: tell(done * len(self.cohorts)),
        )
        summary = RunSummary.model_validate_json((results / "summary.json").read_text(encoding="utf-8"))
        weights = torch.load(results / "best" / self.bundle.name / "models" / "model.pt", weights_only=True)
        steps = sum(site.steps for round_ in summary.rounds for site in round_.sites)
        seconds = time.perf_counter() - start
        best = {name: tensor.numpy() for name, tensor in weights.items()}
        result = self._result("FedXAI-Med", seed, best, steps, seconds, summary.bytes)
        tested = next(model for model in summary.final if model.which == "best")  # the sites' own battery
        return [result.model_copy(update={"honesty": tested.honesty, "by_construction": tested.by_construction})]

    def _train(self, trainers: Mapping[str, SiteTrainer], on_round: _Told) -> TrainingResult:
        return train_rounds(trainers, rounds=self.rounds, key_metric=self.key_metric, on_round=on_round)

    def _result(
        self,
        system: SystemName,
        seed: int,
        weights: Weights,
        steps: int,
        seconds: float,
        outgoing: list[Outgoing],
        *,
        site: str | None = None,
    ) -> SystemResult:
        """Test and explain a model on the test cases of all sites together."""
        tester = self._trainer(POOLED, self._pooled(), seed)
        config, limits = self.bundle.explain, ExplainSettings()  # pyright: ignore[reportCallIssue]
        evaluation = tester.evaluate("test", weights)
        background = tester.background(config.methods)
        methods, _ = tester.answering(config.methods, "test", background)
        explanation = examine(
            tester.asked_network,
            tester.explanation_batches("test", limit=limits.final_cases, batch_size=limits.batch_size),
            split="test",
            methods=methods,
            **self.bundle.question,
            trust_cases=limits.trust_cases,
            background=background,
        )
        return SystemResult(
            system=system,
            seed=seed,
            site=site,
            steps=steps,
            metrics=evaluation.metrics,
            explanation=explanation.methods,
            classes=explanation.classes,
            privacy=privacy_score(outgoing, [cohort.holding() for cohort in self.cohorts.values()]),
            seconds=seconds,
        )

    def _trainer(self, site: str, cases: Mapping[Split, list[Case]], seed: int, **changes: Any) -> SiteTrainer:
        settings = self.train.model_copy(update={"seed": seed, **changes})
        return SiteTrainer(bundle=self.bundle, cases=cases, site=site, settings=settings)

    def _pooled(self) -> dict[Split, list[Case]]:
        return {split: [c for cohort in self.cohorts.values() for c in cohort.cases(split)] for split in SPLITS}

    def _everything_moved(self) -> Outgoing:
        held: list[Holding] = [cohort.holding() for cohort in self.cohorts.values()]
        return Outgoing(
            kind="cohort",
            messages=len(held),
            bytes=sum(holding.bytes for holding in held),
            case_records=sum(holding.case_records for holding in held),
        )

    def _keep_settings(self) -> None:
        path = self.out / "settings.json"
        wanted = {
            **self.settings,
            "guidance": self.guidance.model_dump(mode="json"),
            "digest": self.bundle.digest,
            "cases": {site: sha256(cohort.folder / DATALIST) for site, cohort in self.cohorts.items()},
        }
        if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != wanted:
            raise SettingsError(
                f"--out {self.out.name} holds a comparison with other settings or cases; choose a new folder"
            )
        _write(self.out, path.name, wanted)


def _tell(on_progress: Callable[[int, int, str], None], before: int, total: int, step: str, more: int) -> None:
    on_progress(before + more, total, step)


def _write(folder: Path, file: str, values: Any) -> None:
    write_files(folder, {file: json.dumps(values, indent=1).encode()})
