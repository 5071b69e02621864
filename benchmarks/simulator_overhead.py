# SPDX-License-Identifier: Apache-2.0
"""What federation by FLARE's simulator costs: the whole job against a plain loop that does the same steps.

Both train the same bundle on the same phantom cohorts with the same rounds and evaluations, and ask the same
questions of the models, the costly ones of the final models and the galleries among them; the loop is one process that
has everything imported, the job is the simulator with one process a site, from start to report. Prints ratios; the
baseline is the loop of this run. The loop computes with all cores and the sites with their share of them, so their
weights differ by rounding that training amplifies: the largest difference is printed, and
`tests/jobs/test_main_job.py` holds them equal where both use one thread.

    python benchmarks/simulator_overhead.py [--quick]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from fedxai.bundle import Bundle
from fedxai.combine.weights import fedavg
from fedxai.flare.explaining import explain_final, explain_round, question, round_agreement
from fedxai.flare.simulate import SUMMARY, run_job
from fedxai.intake.cohort import Cohort, site_cohorts
from fedxai.intake.phantom import make_phantom_sites
from fedxai.records import RunSummary
from fedxai.settings import ExplainSettings, TrainSettings
from fedxai.train.engine import SiteTrainer, Weights
from fedxai.train.round_files import RoundFiles

JOB = Path(__file__).resolve().parents[1] / "jobs" / "fedxai"
SITES = 4
LOCAL_EPOCHS = 4
EXPLAIN_EVERY = 2
EXPLAIN = ExplainSettings()  # pyright: ignore[reportCallIssue]


def plain_loop(cohorts: Path, scratch: Path, bundle: Bundle, rounds: int, finals: int) -> Weights:
    """The steps of the job, one site after the other, in this process; ``finals`` models are tested and explained."""
    folders = site_cohorts(cohorts)
    trainers = {
        site: SiteTrainer(
            bundle=bundle,
            cases=Cohort.open(path).splits(),
            site=site,
            settings=TrainSettings(local_epochs=LOCAL_EPOCHS),
        )
        for site, path in folders.items()
    }
    cases = {site: trainer.training_cases for site, trainer in trainers.items()}
    weights = next(iter(trainers.values())).weights()
    for round_ in range(rounds):
        updates = {}
        for site, trainer in trainers.items():
            trainer.evaluate("validation", weights, intervals=False)
            updates[site] = trainer.train(weights, round_=round_, rounds=rounds).difference
        mean = fedavg(updates, cases)
        weights = {**weights, **{name: weights[name] + mean[name] for name in mean}}
        done = round_ + 1
        if (done == 1 or done % EXPLAIN_EVERY == 0) and done < rounds:
            for site, trainer in trainers.items():
                trainer.load(weights)
                explain_round(trainer, EXPLAIN, question(trainer, "validation")[0])
                round_agreement(trainer, EXPLAIN, RoundFiles(scratch / site / "explained_before.npz"), done)
    for model in range(finals):
        for site, trainer in trainers.items():
            trainer.evaluate("validation", weights, intervals=False)
            trainer.evaluate("test")
            asked, gallery = question(trainer, "test")[0], scratch / site / f"gallery_{model}"
            explain_final(trainer, EXPLAIN, asked, gallery, root=folders[site])
    return weights


def measure(scratch: Path, rounds: int, cases: int) -> dict[str, float]:
    """Seconds of the job and of the loop, and how far their weights are apart."""
    cohorts = scratch / f"cohorts-{rounds}"
    make_phantom_sites(cohorts, sites=SITES, cases=cases)
    bundle = Bundle.open(json.loads((JOB / "app/config/config_fed_server.json").read_text())["bundle"])
    start = time.perf_counter()
    results = run_job(
        JOB,
        out=scratch / f"run-{rounds}",
        cohorts=cohorts,
        settings={"num_rounds": rounds, "explain_every": EXPLAIN_EVERY},
        train={"local_epochs": LOCAL_EPOCHS},
    )
    job = time.perf_counter() - start
    finals = len({model.round for model in RunSummary.model_validate_json((results / SUMMARY).read_bytes()).final})
    start = time.perf_counter()
    weights = plain_loop(cohorts, scratch / f"loop-{rounds}", bundle, rounds, finals)
    loop = time.perf_counter() - start
    model = torch.load(results / "last" / bundle.name / "models" / "model.pt", weights_only=True)
    apart = max(float(np.abs(model[name].numpy() - weights[name]).max()) for name in weights)
    return {"loop": loop, "job": job, "apart": apart, "finals": finals}


def main() -> None:
    """Measure the demo and a run of 20 rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short run, to see that it works")
    quick = parser.parse_args().quick
    plans = [("quick", 2, 24, None)] if quick else [("demo", 6, 200, 1.5), ("20 rounds", 20, 200, 1.1)]
    with tempfile.TemporaryDirectory() as scratch:
        for name, rounds, cases, goal in plans:
            found = measure(Path(scratch), rounds, cases)
            print(
                f"{name}: {rounds} rounds, {SITES} sites: job / plain loop = {found['job'] / found['loop']:.2f}"
                f"{f' (goal {goal})' if goal else ''}; loop {found['loop']:.1f} s, job {found['job']:.1f} s; "
                f"{found['finals']} models tested and explained; largest difference of a weight {found['apart']:.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
