# SPDX-License-Identifier: Apache-2.0
"""The server's model answers what the site's evaluation and `fedxai explain` say of the same case."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from fedxai.bundle import Bundle
from fedxai.explain import explain_batch
from fedxai.label.model_watch import ModelWatch
from fedxai.settings import TrainSettings
from fedxai.train.engine import SiteTrainer

CLASSIFIERS = {
    "brain_mri_tumor_classification": "pictures",
    "brain_mri_lesion_classification": "classification",
}
SEGMENTER = "hippocampus_mri_segmentation"


def trainer_of(folder, cohort):
    bundle = Bundle.open(folder)
    trainer = SiteTrainer(bundle=bundle, cases=cohort.splits(), site="here", settings=TrainSettings(), device="cpu")
    trainer.load({name: value.numpy() for name, value in bundle.weights().items()})
    return trainer


@pytest.fixture(params=CLASSIFIERS)
def classifier(request, untrained, cohort_2d, cohort_3d):
    kind = CLASSIFIERS[request.param]
    cohort = cohort_2d if kind == "pictures" else cohort_3d[kind]
    folder = untrained(request.param)
    return ModelWatch(str(folder), device="cpu").current(), trainer_of(folder, cohort), cohort


def test_probabilities_are_those_of_the_sites_evaluation(classifier):
    served, trainer, cohort = classifier
    logits, _ = trainer.logits("validation")
    for case, row in zip(cohort.cases("validation"), softmax(logits, axis=1), strict=True):
        answer = served.logits(served.prepare(case.image)).softmax(dim=0).numpy()
        assert answer == pytest.approx(row, abs=1e-6)


def test_maps_and_regions_are_those_of_fedxai_explain(classifier):
    served, trainer, cohort = classifier
    batch = next(trainer.explanation_batches("validation", limit=1, batch_size=1))
    case = cohort.cases("validation")[0]
    prepared = served.prepare(case.image, region=case.region)
    assert torch.equal(prepared.regions[case.label][None], batch["region"])
    told = explain_batch(trainer.asked_network, batch["image"], methods=["saliency"]).maps["saliency"]
    looked = served.look(prepared, "saliency")
    assert torch.allclose(looked.relevance[None], told.sum(dim=1, keepdim=True), rtol=1e-4, atol=1e-7)


def test_a_segmentation_has_the_dice_of_the_sites_evaluation(untrained, cohort_3d):
    from monai.metrics.meandice import compute_dice

    folder, cohort = untrained(SEGMENTER), cohort_3d["segmentation"]
    trainer = trainer_of(folder, cohort)
    served = ModelWatch(str(folder), device="cpu").current()
    dice = []
    for case in cohort.cases("validation"):
        prepared = served.prepare(case.image)
        logits = served.logits(prepared)
        regions = served.prepare(case.image, region=case.label).regions
        truth = torch.stack([regions[k] for k in (1, 2)]).squeeze(1)
        predicted = torch.stack([logits.argmax(dim=0) == k for k in (1, 2)])
        dice.append(float(compute_dice(predicted[None].float(), truth[None].float()).nanmean()))
    figure = trainer.evaluate("validation", intervals=False).metrics["mean_dice"]
    assert figure.value == pytest.approx(np.mean(dice), abs=1e-4)  # figures have four decimals


def test_a_region_of_another_class_is_not_there(untrained, cohort_3d):
    served = ModelWatch(str(untrained(SEGMENTER)), device="cpu").current()
    case = cohort_3d["segmentation"].cases("test")[0]
    assert set(served.prepare(case.image, region=case.label).regions) == {1, 2}
    assert served.prepare(case.image).regions == {}
