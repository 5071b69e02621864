# SPDX-License-Identifier: Apache-2.0
"""The engine on label maps: the same rounds, figures volume by volume, a region a class, wrong maps refused."""

import numpy as np
import pytest
import torch

from fedxai.errors import BundleError, CohortError
from fedxai.records import Case
from fedxai.score.examine import examine
from fedxai.settings import GuidanceSettings, TrainSettings
from fedxai.train.engine import SiteTrainer
from fedxai.train.segmentation import SegmentationTally
from fedxai.train.spacing import Spacing


def trainer(bundle, cases, **settings):
    return SiteTrainer(
        bundle=bundle, cases=cases, site="site-1", settings=TrainSettings(threads=1, **settings), device="cpu"
    )


@pytest.fixture
def site(tiny_bundle, volume_cases):
    return trainer(tiny_bundle, volume_cases)


def test_a_round_changes_the_weights_and_the_same_seed_repeats_it(tiny_bundle, volume_cases):
    updates = []
    for _ in range(2):
        site = trainer(tiny_bundle, volume_cases, local_steps=1)
        updates.append(site.train(site.weights(), round_=0, rounds=2).difference)
    assert all(np.array_equal(updates[0][name], updates[1][name]) for name in updates[0])
    assert any(difference.any() for difference in updates[0].values())


def test_the_figures_are_those_of_the_networks_own_answers(site, tiny_bundle, volume_cases):
    """Against a plain loop over the prepared cases, without MONAI's engine or its inferer."""
    metrics = site.evaluate("test").metrics
    prepare = tiny_bundle.parser().get_parsed_content("validate#preprocessing")
    tally = SegmentationTally(tiny_bundle.class_names, tiny_bundle.parser().get_parsed_content("loss"))
    for case in volume_cases["test"]:
        item = prepare({"image": str(case.image), "label": str(case.label)})
        with torch.no_grad():
            logits = site.network.eval()(torch.as_tensor(item["image"])[None])
        tally.add(torch.as_tensor(logits), torch.as_tensor(item["label"])[None], [(1, 1, 1)])
    expected = tally.evaluation([case.group for case in volume_cases["test"]], split="test").metrics
    assert list(metrics) == list(expected)
    for name, figure in metrics.items():
        assert figure.n == expected[name].n
        assert figure.value == pytest.approx(expected[name].value, abs=2e-4)


def test_every_case_is_asked_about_once_a_class_with_that_class_as_its_region(site, volume_cases):
    batches = list(site.explanation_batches("test", limit=10, batch_size=4))
    assert [len(batch["image"]) for batch in batches] == [4, 2]
    assert [label for batch in batches for label in batch["label"].tolist()] == [1, 2] * 3
    assert [group for batch in batches for group in batch["group"]] == [
        case.group for case in volume_cases["test"] for _ in range(2)
    ]
    for batch in batches:
        assert batch["region"].flatten(1).sum(dim=1).tolist() == [75] * len(batch["image"])
        assert batch["spacing"].tolist() == [[1, 1, 1]] * len(batch["image"])
        assert batch["region"].shape[2:] == batch["image"].shape[2:] == (16, 16, 16)


def test_a_class_that_a_case_lacks_is_no_region(tiny_bundle, volume_cases, make_volume):
    site = trainer(tiny_bundle, {**volume_cases, "test": [make_volume("lacking", values=(1, 0))]})
    [batch] = site.explanation_batches("test", limit=1, batch_size=4)
    assert batch["has_region"].tolist() == [True, False]


def test_volumes_of_other_sizes_come_in_batches_of_their_own(tiny_bundle, volume_cases, make_volume):
    test = [make_volume("small"), make_volume("wide", shape=(14, 20, 14)), make_volume("small too")]
    site = trainer(tiny_bundle, {**volume_cases, "test": test})
    batches = list(site.explanation_batches("test", limit=3, batch_size=16))
    assert [tuple(batch["image"].shape) for batch in batches] == [(2, 1, 16, s, 16) for s in (16, 20, 16)]
    assert site.evaluate("test").metrics["mean_dice"].n == 3


def test_spacing_is_brought_to_one_millimetre(tiny_bundle, volume_cases, make_volume):
    thick = make_volume("thick", spacing=(1.0, 1.0, 2.0), shape=(14, 12, 8))
    site = trainer(tiny_bundle, {**volume_cases, "test": [thick]})
    [batch] = site.explanation_batches("test", limit=1, batch_size=4)
    assert batch["image"].shape[2:] == (16, 16, 16)
    assert batch["region"][0].sum() > 75


def test_distances_are_in_the_millimetres_of_each_case_in_order(tiny_bundle, volume_cases, make_volume, monkeypatch):
    """The network's grid is 1 mm; a case whose spacing nobody knows has no distance, and its neighbours keep theirs."""
    told, heard = iter([[1.0, 1.0, 1.0], None, [3.0, 3.0, 3.0]]), []
    monkeypatch.setattr(
        Spacing, "of", lambda _, prepared, case: heard.append((tuple(prepared.shape), case)) or next(told)
    )
    site = trainer(tiny_bundle, volume_cases)
    figure = site.evaluate("test").metrics["hd95_anterior"]
    assert heard == [((1, 16, 16, 16), case) for case in volume_cases["test"]]
    assert figure.n == 2


def test_classes_are_summarised_one_by_one_and_together(site, tiny_bundle):
    explanation = examine(
        site.network,
        site.explanation_batches("test", limit=3, batch_size=4),
        split="test",
        methods=tiny_bundle.explain.methods,
        **tiny_bundle.question,
    )
    assert explanation.cases == 3
    assert [part.class_index for part in explanation.classes] == [1, 2]
    for place, together in enumerate(explanation.methods):
        parts = [part.methods[place] for part in explanation.classes]
        assert together.scored == sum(part.scored for part in parts) == 6
        figures = [part.scores["relevance_mass"] for part in parts]
        known = [(figure.value, figure.n) for figure in figures if figure.n]
        expected = sum(v * n for v, n in known) / sum(n for _, n in known)
        assert together.scores["relevance_mass"].value == pytest.approx(expected, abs=2e-4)


def test_a_case_of_the_gallery_has_the_likeliest_class_over_its_region(site, tiny_bundle):
    seen = []
    [batch] = site.explanation_batches("test", limit=1, batch_size=4)
    examine(site.network, [batch], split="test", methods=["saliency"], sink=seen.append, **tiny_bundle.question)
    with torch.no_grad():
        probabilities = site.network.eval()(batch["image"]).softmax(dim=1)
    for place, case in enumerate(seen):
        expected = probabilities[place][:, batch["region"][place, 0]].mean(dim=1)
        assert case.probabilities == pytest.approx(expected.tolist(), abs=1e-5)
        assert (case.label, case.target, case.predicted) == (place + 1, place + 1, int(expected.argmax()))


USES = {
    "training": lambda site: site.train(site.weights(), round_=0, rounds=1),
    "validation": lambda site: site.evaluate("validation"),
    "test": lambda site: list(site.explanation_batches("test", limit=1, batch_size=1)),
}


@pytest.mark.parametrize("split", USES)
def test_a_map_with_a_value_that_is_no_class_is_refused_where_it_is_read(tiny_bundle, volume_cases, make_volume, split):
    site = trainer(tiny_bundle, {**volume_cases, split: [make_volume(f"wrong {split}", values=(1, 7))] * 2})
    with pytest.raises(CohortError, match="whole numbers from 0 to 2, got 7"):
        USES[split](site)


def test_a_cohort_of_the_other_kind_is_refused(tiny_bundle, brain_bundle, volume_cases):
    classes = {split: [Case(image=c.image, label=1) for c in cases] for split, cases in volume_cases.items()}
    with pytest.raises(CohortError, match="cohort is for classification and bundle tiny.* for segmentation"):
        trainer(tiny_bundle, classes)
    with pytest.raises(CohortError, match="cohort is for segmentation and bundle brain.* for classification"):
        trainer(brain_bundle, volume_cases)


def test_guidance_is_refused(tiny_bundle, volume_cases):
    with pytest.raises(BundleError, match="guidance rewards a classifier's relevance, and bundle tiny.* segments"):
        trainer(tiny_bundle, volume_cases, guidance=GuidanceSettings(terms=("energy",)))


@pytest.mark.slow
def test_training_learns_to_find_the_boxes(tiny_bundle, volume_cases):
    site = trainer(tiny_bundle, volume_cases, local_epochs=25, batch_size=2, learning_rate=0.02)
    before = site.evaluate("validation", intervals=False).metrics["mean_dice"].value
    update = site.train(site.weights(), round_=0, rounds=1)
    after = site.evaluate("validation", intervals=False).metrics["mean_dice"].value
    assert update.steps == 50
    assert after > before + 0.2


def test_the_background_has_each_volume_once_and_those_of_the_commonest_size(tiny_bundle, volume_cases, make_volume):
    training = [make_volume("wide", shape=(14, 20, 14)), *(make_volume(f"v{number}") for number in range(3))]
    site = trainer(tiny_bundle, {**volume_cases, "training": training})
    background = site.background(["saliency", "integrated_gradients_mean"])
    assert background.shape == (3, 1, 16, 16, 16)
    assert len({image.sum().item() for image in background}) == 3
    assert site.background(["saliency"]) is None
