# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from fedxai.errors import TrainingError
from fedxai.settings import TrainSettings
from fedxai.train.engine import SiteTrainer
from fedxai.train.federation import train_rounds


@pytest.fixture
def trainers(brain_bundle, phantom_cases):
    def make(*sites, steps=2, validate_every=1):
        settings = TrainSettings(local_steps=steps, threads=1, validate_every=validate_every)
        return {
            site: SiteTrainer(
                bundle=brain_bundle, cases=phantom_cases[site], site=site, settings=settings, device="cpu"
            )
            for site in sites
        }

    return make


def test_two_rounds_equal_the_papers_equations(trainers):
    """Equations 1 and 2 written out: train at each site from the same weights, then the n_k / n mean of the results."""
    found = train_rounds(trainers("site-1", "site-3"), rounds=2)
    plain = trainers("site-1", "site-3")
    n = {site: trainer.training_cases for site, trainer in plain.items()}
    assert n["site-1"] != n["site-3"]
    weights = start = plain["site-1"].weights()
    for round_ in range(2):
        local = {}
        for site, trainer in plain.items():
            difference = trainer.train(weights, round_=round_, rounds=2).difference
            local[site] = {name: weights[name] + difference[name] for name in weights}
        weights = {name: sum(n[site] / sum(n.values()) * local[site][name] for site in n) for name in weights}
    # The two sums round differently, and AdamW's first steps turn 1e-8 into a whole step where a gradient is about 0:
    # so the movement as a whole is compared. The mean without n_k / n differs by several hundredths of it.
    moved, apart = (np.concatenate([(weights[k] - other[k]).ravel() for k in weights]) for other in (start, found.last))
    assert np.linalg.norm(apart) < 0.01 * np.linalg.norm(moved)


def test_one_site_and_one_step_is_one_centralised_step(trainers):
    federated = train_rounds(trainers("site-1", steps=1), rounds=1)
    alone = trainers("site-1", steps=1)["site-1"]
    start = alone.weights()
    difference = alone.train(start, round_=0, rounds=1).difference
    for name in start:
        np.testing.assert_allclose(federated.last[name], start[name] + difference[name], rtol=1e-6, atol=1e-7)


def test_steps_bytes_and_metrics_are_counted(trainers):
    found = train_rounds(trainers("site-1", "site-2"), rounds=2)
    size = sum(tensor.nbytes for tensor in found.last.values())
    assert found.steps == 2 * 2 * 2
    assert found.update_bytes == 2 * 2 * size
    assert list(found.metrics) == list(found.losses) == [0, 1, 2]
    assert 1 <= found.best_round <= 2
    assert found.metrics[found.best_round] == max(found.metrics[1], found.metrics[2])


def test_validating_more_rarely_changes_only_who_can_be_chosen(trainers):
    found = train_rounds(trainers("site-1", "site-2"), rounds=3)
    rarely = train_rounds(trainers("site-1", "site-2", validate_every=2), rounds=3)
    assert {name: tensor.tobytes() for name, tensor in rarely.last.items()} == {
        name: tensor.tobytes() for name, tensor in found.last.items()
    }
    assert rarely.metrics == {round_: found.metrics[round_] for round_ in (0, 2, 3)}
    assert rarely.best_round in (2, 3)


def test_a_metric_that_no_validation_split_gives_ends_the_training(trainers):
    """A site without a class has no macro AUC; with NaN nothing would ever be better than the model of round 1."""
    lacking = trainers("site-1", "site-2")
    for trainer in lacking.values():
        trainer.cases["validation"] = [case for case in trainer.cases["validation"] if case.label != 1]
    with pytest.raises(TrainingError, match="no site's validation split gives macro_auc.* for instance accuracy"):
        train_rounds(lacking, rounds=1)
    assert train_rounds(lacking, rounds=1, key_metric="accuracy").best_round == 1
