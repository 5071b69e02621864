# SPDX-License-Identifier: Apache-2.0
"""The phantom's truth is known, and E sees it: a trained model, one that learnt noise, one that learnt a shortcut."""

import pytest

from fedxai.intake.phantom import make_phantom
from fedxai.score.examine import examine
from fedxai.settings import TrainSettings
from fedxai.train.engine import SiteTrainer

pytestmark = pytest.mark.slow
EPOCHS = 15


@pytest.fixture(scope="module")
def found(brain_bundle, tmp_path_factory):
    """Macro AUC, E and chance of the brain bundle's network on three phantoms, one scanner each."""
    kinds = {"honest": {}, "shuffled": {"shuffle_labels": True}, "shortcut": {"shortcut": True}}
    return {
        name: examined(brain_bundle, tmp_path_factory.mktemp(name) / "site-1", planted)
        for name, planted in kinds.items()
    }


def examined(bundle, folder, planted):
    cohort = make_phantom(folder, site="site-1", index=0, cases=480, **planted)
    site = SiteTrainer(
        bundle=bundle,
        cases=cohort.splits(),
        site="site-1",
        settings=TrainSettings(local_epochs=EPOCHS),
        device="cpu",
    )
    update = site.train(site.weights(), round_=0, rounds=1)
    assert update.steps == EPOCHS * 18
    explanation = examine(
        site.network,
        site.explanation_batches("test", limit=200, batch_size=16),
        split="test",
        methods=["gradient_x_input"],
    ).methods[0]
    evaluation = site.evaluate("test", intervals=False)
    return (
        evaluation.metrics["macro_auc"].value,
        explanation.scores["relevance_mass"],
        explanation.chance["relevance_mass"].value,
    )


def test_a_trained_model_looks_at_the_lesion(found):
    auc, e, chance = found["honest"]
    assert auc > 0.8
    assert e.low > 1.5 * chance


def test_a_model_trained_on_shuffled_labels_looks_anywhere(found):
    """Near chance, though not at it (0.11 where chance is 0.08), and far below the trained model (0.22)."""
    auc, e, chance = found["shuffled"]
    assert auc < 0.65
    assert 0.6 * chance < e.value < 1.75 * chance
    assert e.high < found["honest"][1].low


def test_a_model_trained_with_the_shortcut_looks_away(found):
    auc, e, chance = found["shortcut"]
    assert auc > 0.8
    assert e.high < chance
