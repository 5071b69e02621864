# SPDX-License-Identifier: Apache-2.0
"""The bar of `fedxai compare`: how far it is and the time left, with trainings of a minute a round on a false clock."""

import pytest
from typer.testing import CliRunner

from fedxai.cli import app
from fedxai.errors import RunError
from fedxai.flare import comparison
from fedxai.privacy.ledger import privacy_score
from fedxai.records import SystemResult
from fedxai.train.federation import TrainingResult

ROUNDS = 2


@pytest.fixture
def clock(monkeypatch):
    """Seconds, as rich reads them."""
    seconds = [0.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: seconds[0])
    return seconds


@pytest.fixture
def compare(monkeypatch, clock, main_job, small_cohorts, tmp_path):
    """The command with trainings that only tell their rounds, and a job that fails after its first one."""

    def train_rounds(trainers, *, rounds, on_round, **_):
        for done in range(rounds + 1):
            clock[0] += 60 * (done > 0)
            on_round(done)
        return TrainingResult(last={}, best={}, best_round=1, metrics={}, losses={}, steps=0, update_bytes=0, seconds=0)

    def run_job(job, *, on_progress, **_):
        clock[0] += 60
        on_progress(1, ROUNDS, "round 1/2")
        raise RunError("the run failed")

    def result(self, system, seed, *_, site=None):
        privacy = privacy_score([], [cohort.holding() for cohort in self.cohorts.values()])
        empty = {"steps": 0, "metrics": {}, "explanation": [], "seconds": 0}
        return SystemResult(system=system, seed=seed, site=site, privacy=privacy, **empty)

    monkeypatch.setattr(comparison, "train_rounds", train_rounds)
    monkeypatch.setattr(comparison, "run_job", run_job)
    monkeypatch.setattr(comparison.SystemsComparison, "_result", result)
    arguments = ["compare", "--cohorts", small_cohorts, "--bundle", "brain_mri_tumor_classification", "--seeds", 1]
    arguments += ["--rounds", ROUNDS, "--job", main_job, "--out", tmp_path / "out"]
    return lambda: CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_bar_counts_every_systems_rounds_and_what_was_there_before_no_more(compare):
    begun = compare()
    assert isinstance(begun.exception, RunError)
    assert "seed 0: FedXAI-Med" in begun.stderr
    assert " 88% 0:01:40" in begun.stderr, "21 of 24 rounds of a site; 18 of them, after the first 3, in 600 s"
    again = compare()
    assert "seed 0: FedXAI-Med" in again.stderr
    assert " 50% " in again.stderr
