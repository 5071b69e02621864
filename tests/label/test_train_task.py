# SPDX-License-Identifier: Apache-2.0
"""Training from the viewer tunes on the site's cohort with progress, or leaves a request that an answer closes."""

import os
import shutil

import numpy as np
import pytest
import torch

from fedxai.bundle import Bundle
from fedxai.errors import ExplanationError, SettingsError
from fedxai.explain import METHODS
from fedxai.score.examine import examine
from fedxai.settings import ExplainSettings, TrainSettings
from fedxai.train.engine import SiteTrainer

BRAIN = "brain_mri_tumor_classification"


@pytest.fixture
def app(untrained, cohort_2d, tmp_path, reading_app):
    model = tmp_path / "model" / BRAIN
    shutil.copytree(untrained(BRAIN), model)
    images = [case.image for case in cohort_2d.cases("training")[:2]]
    return reading_app(tmp_path / "room", model=model, images=images, cohort=str(cohort_2d.folder))


def test_fine_tuning_trains_tells_and_exports_what_it_does_not_serve(app, tmp_path, capsys):
    served = app.watch.current().digest
    told = app.train({"model": "fine_tuning", "max_epochs": 2})
    assert (told["epochs"], told["epoch"]) == (2, 2)
    assert {"accuracy", "E", "method"} <= set(told["before"]) == set(told["after"])
    assert "epoch 2/2: loss" in capsys.readouterr().out
    assert app.info()["train_stats"]["fine_tuning"] == told
    assert app.watch.current().digest == served
    tuned = Bundle.open(tmp_path / "room" / "app" / "model" / "fine_tuning" / BRAIN).weights()
    assert any(not np.array_equal(tuned[name], value) for name, value in app.watch.current().weights().items())


def explained(trainer, method):
    batches = trainer.explanation_batches("validation", limit=32, batch_size=2)
    examined = examine(trainer.asked_network, batches, split="validation", methods=[method], **trainer.bundle.question)
    return examined.methods[0].scores["relevance_mass"].value


def test_e_is_of_the_method_that_runs_report_in_batches_as_sites_explain(app, cohort_2d, monkeypatch):
    together, batches = [], SiteTrainer.explanation_batches

    def watched(trainer, split, *, limit, batch_size):
        together.append(batch_size)
        return batches(trainer, split, limit=limit, batch_size=batch_size)

    monkeypatch.setattr(SiteTrainer, "explanation_batches", watched)
    before = app.train({"model": "fine_tuning"})["before"]
    assert max(together) <= ExplainSettings().batch_size
    served = app.watch.current()
    trainer = SiteTrainer(
        bundle=served.bundle, cases=cohort_2d.splits(), site="here", settings=TrainSettings(threads=1), device="cpu"
    )
    trainer.load(served.weights())
    assert before["method"] == "gradient_x_input"
    assert before["E"] == pytest.approx(explained(trainer, "gradient_x_input"), rel=1e-4)


def test_e_is_of_the_bundles_first_method_that_answers_where_that_of_the_runs_cannot(app, monkeypatch):
    def refuse(method, probe):
        raise ExplanationError(f"{method.name} cannot explain this network")

    for name in ("gradient_x_input", "saliency"):
        monkeypatch.setattr(type(METHODS.make(name)), "attribute", refuse)
    before = app.train({"model": "fine_tuning"})["before"]
    assert before["method"] == "grad_cam"
    assert before["E"] is not None


def test_settings_of_training_are_checked_before_it_begins(app):
    for wrong in ({"max_epochs": 0}, {"max_epochs": "many"}, {"guidance": "stars"}):
        with pytest.raises(SettingsError):
            app.train({"model": "fine_tuning", **wrong})
    assert app.info()["train_stats"]["fine_tuning"] == {}


def test_a_request_for_the_next_round_is_answered_by_the_next_model(app):
    asked = app.train({"model": "next_federated_round"})
    assert asked["images"] == 0
    assert app.info()["train_stats"]["next_federated_round"]["answered"] is False
    file = app.watch.current().bundle.path / "models" / "model.pt"
    state = {name: value + 0.01 for name, value in torch.load(file, weights_only=True).items()}
    torch.save(state, file.with_suffix(".new"))
    os.replace(file.with_suffix(".new"), file)
    assert app.info()["train_stats"]["next_federated_round"]["answered"] is True


def test_without_a_cohort_there_is_nothing_to_tune_on(untrained, cohort_2d, tmp_path, reading_app):
    images = [cohort_2d.cases("training")[0].image]
    app = reading_app(tmp_path / "room", model=untrained(BRAIN), images=images)
    assert set(app.info()["trainers"]) == {"next_federated_round"}
