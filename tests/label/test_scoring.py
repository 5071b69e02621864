# SPDX-License-Identifier: Apache-2.0
"""Scores of what readers drew are those of the room of scores; strategies give the image that needs a reader most."""

import json
import math

import numpy as np
import pytest
import torch

from fedxai.errors import CohortError, ExplanationError, SettingsError
from fedxai.label.bands import bands
from fedxai.label.feedback import Drawn, Said
from fedxai.label.grids import read_image
from fedxai.label.scoring import overlaps
from fedxai.label.served import Served
from fedxai.score import score_map

BRAIN, HIPPOCAMPUS = "brain_mri_tumor_classification", "hippocampus_mri_segmentation"


@pytest.fixture
def app(untrained, cohort_2d, tmp_path, reading_app):
    images = [case.image for case in cohort_2d.cases("training")[:5]]
    return reading_app(tmp_path / "room", model=untrained(BRAIN), images=images)


def draw(app, image, where, reader="Dr A", name="lesion"):
    volume = read_image(app.desk.path(image))
    labels = np.zeros(volume.grid, dtype=np.uint8)
    labels[where] = 1
    app.feedback.add(image, reader, Said(), Drawn(labels=labels, affine=volume.affine, names={name: 1}))


def test_scores_are_means_of_each_images_own(app):
    images = sorted(app.datastore().list_images())[:3]
    for image in images:
        draw(app, image, np.s_[40:80, 50:90])
    answer = app.scoring({"method": "explanations", "methods": ["saliency", "grad_cam"]})
    assert (answer["images"], set(answer["methods"])) == (3, {"saliency", "grad_cam"})
    served, values, ious = app.watch.current(), [], []
    for image in images:
        prepared = app.desk.prepare(served, app.desk.path(image), app.desk.drawn(served, image))
        answered = app.desk.look(served, prepared, "saliency")
        region, relevance = answered.region, answered.looked.relevance
        values.append(float(score_map(relevance[None], region[None])["relevance_mass"]))
        high = bands(relevance) == 3
        ious.append(float((high & region).sum() / (high | region).sum()))
    found = answer["methods"]["saliency"]
    assert found["relevance_mass"]["value"] == pytest.approx(np.mean(values), abs=1e-4)
    assert found["iou saliency high"]["value"] == pytest.approx(np.mean(ious), abs=1e-4)
    assert found["chance"]["value"] == pytest.approx(40 * 40 / 128**2, rel=0.1)
    kept = json.loads((app.feedback.folder / images[0] / "scores.json").read_text())
    assert kept["methods"]["saliency"][0]["relevance_mass"] == pytest.approx(values[0], abs=1e-6)
    assert kept["model"] == served.identity


def test_an_image_that_a_method_cannot_explain_is_left_out_of_its_figures_only(app, monkeypatch):
    images = sorted(app.datastore().list_images())[:3]
    for image in images:
        draw(app, image, np.s_[40:80, 50:90])
    look, refusing = app.desk.look, {app.desk.path(images[1])}

    def refuse(served, prepared, method, **options):
        if method == "grad_cam" and prepared.path in refusing:
            raise ExplanationError("grad_cam gives a map that is not finite for this image")
        return look(served, prepared, method, **options)

    monkeypatch.setattr(app.desk, "look", refuse)
    asked = {"method": "explanations", "methods": ["saliency", "grad_cam"]}
    answer = app.scoring(asked)
    assert answer["images"] == 3
    assert {name: found["relevance_mass"]["n"] for name, found in answer["methods"].items()} == {
        "saliency": 3,
        "grad_cam": 2,
    }
    refusing |= {app.desk.path(image) for image in images}
    with pytest.raises(ExplanationError, match="not finite"):
        app.scoring(asked)


@pytest.mark.parametrize("task", ["classification", pytest.param("segmentation", marks=pytest.mark.slow)])
def test_what_was_drawn_is_asked_for_and_an_image_prepared_once_whatever_it_is_asked_about(
    task, untrained, cohort_2d, cohort_3d, tmp_path, reading_app, monkeypatch
):
    """Drawn at another workstation, so that every question goes to the archive."""
    bundle, cohort = {"classification": (BRAIN, cohort_2d), "segmentation": (HIPPOCAMPUS, cohort_3d["segmentation"])}[
        task
    ]
    images = [case.image for case in cohort.cases("training")[:2]]
    app = reading_app(tmp_path / "room", model=untrained(bundle), images=images)
    asked, prepared, prepare = [], [], Served.prepare

    def elsewhere(image, class_names):
        asked.append(image)
        volume = read_image(app.desk.path(image))
        labels = np.zeros(volume.grid, dtype=np.uint8)
        labels[10:20, 10:20], labels[20:30, 10:20] = 1, 2
        return {"Stranger": Drawn(labels=labels, affine=volume.affine, names={class_names[1]: 1, class_names[2]: 2})}

    def counted(served, image, **how):
        prepared.append(image.name)
        return prepare(served, image, **how)

    app.desk._elsewhere = elsewhere
    monkeypatch.setattr(Served, "prepare", counted)
    monkeypatch.setattr(type(app.datastore()), "get_labeled_images", lambda store: store.list_images())
    answer = app.scoring({"method": "explanations", "methods": "saliency,gradient_x_input"})
    assert (answer["images"], set(answer["methods"])) == (2, {"saliency", "gradient_x_input"})
    assert len(asked) == len(set(asked)) == 2
    assert len(prepared) == len(set(prepared)) == 2


def test_without_a_drawing_there_is_nothing_to_score(app):
    with pytest.raises(CohortError, match="nothing to score"):
        app.scoring({"method": "explanations"})
    with pytest.raises(ExplanationError, match="choose from"):
        app.scoring({"method": "explanations", "methods": "tea_leaves"})
    with pytest.raises(SettingsError, match="names of saliency methods"):
        app.scoring({"method": "explanations", "methods": 5})


def test_bands_that_are_the_region_overlap_it_wholly():
    relevance = torch.zeros(1, 20, 20)
    relevance[0, :4, :3] = 1
    assert overlaps(relevance, relevance > 0) == {f"iou saliency {name}": 1.0 for name in ("low", "mid", "high")}
    assert overlaps(relevance, relevance == 0)["iou saliency high"] == 0.0


def test_the_most_uncertain_image_is_the_one_of_highest_entropy(app):
    served = app.watch.current()
    entropy = {}
    for image in app.datastore().list_images():
        p = served.logits(served.prepare(app.desk.path(image))).double().softmax(dim=0).numpy()
        entropy[image] = -(p * np.log(p)).sum() / math.log(len(p))
    chosen = app.next_sample({"strategy": "highest_uncertainty"})
    assert chosen["id"] == max(entropy, key=entropy.get)
    assert chosen["weight"] == pytest.approx(max(entropy.values()), abs=1e-6)


def test_the_least_explained_image_is_the_one_of_most_spread_relevance_then_of_lowest_e(app):
    images = app.datastore().list_images()
    served, method = app.watch.current(), app.desk.methods()[0]

    def gini(image):
        relevance = app.desk.look(served, served.prepare(app.desk.path(image)), method).looked.relevance
        return float(score_map(relevance[None], torch.ones_like(relevance[None], dtype=torch.bool))["gini"])

    assert app.next_sample({"strategy": "lowest_explainability"})["id"] == min(images, key=gini)
    for image in images:
        draw(app, image, np.s_[20:110, 20:110])
    far = images[2]
    draw(app, far, np.s_[0:3, 0:3])  # the reader saw it again, and moved the region where nothing is
    assert app.next_sample({"strategy": "lowest_explainability"})["id"] == far


def test_disagreement_asks_for_a_second_reader_where_saliency_is_furthest(app):
    assert app.next_sample({"strategy": "saliency_disagrees_with_region"}) == {}
    near, far, twice = app.datastore().list_images()[:3]
    draw(app, near, np.s_[20:110, 20:110])
    draw(app, far, np.s_[0:4, 0:4])
    for reader in ("Dr A", "Dr B"):
        draw(app, twice, np.s_[0:2, 0:2], reader)
    assert app.next_sample({"strategy": "saliency_disagrees_with_region"})["id"] == far


def test_who_drew_nothing_is_no_reader_and_what_nobody_drew_on_no_disagreement(app):
    twice, once, said = app.datastore().list_images()[:3]
    for reader in ("Dr A", "Dr B"):
        draw(app, twice, np.s_[0:2, 0:2], reader)
    app.feedback.add(said, "Dr A", Said(comment="blurred"))
    assert app.next_sample({"strategy": "saliency_disagrees_with_region"})["id"] == twice
    draw(app, once, np.s_[20:110, 20:110])
    app.feedback.add(once, "Dr B", Said(label="glioma"))
    app.feedback.add(once, "Dr C", Said(agreement=4))
    assert app.next_sample({"strategy": "saliency_disagrees_with_region"})["id"] == once


def test_a_damaged_record_holds_up_no_other_image(app):
    damaged, other = app.datastore().list_images()[:2]
    for image in (damaged, other):
        draw(app, image, np.s_[0:4, 0:4])
    (record,) = (app.feedback.folder / damaged).glob("*-*.json")
    record.write_text("{")
    for strategy in ("saliency_disagrees_with_region", "lowest_explainability"):
        assert app.next_sample({"strategy": strategy})["id"] != damaged


def test_an_image_that_could_not_be_looked_at_is_tried_again_and_another_only_once(app, monkeypatch):
    prepare, broken, asked = Served.prepare, set(app.datastore().list_images()[:1]), []

    def sometimes(served, image, **how):
        asked.append(image.name.split(".")[0])
        if asked[-1] in broken:
            raise CohortError("cannot be read now")
        return prepare(served, image, **how)

    monkeypatch.setattr(Served, "prepare", sometimes)
    (first,) = broken
    assert app.next_sample({"strategy": "highest_uncertainty"})["id"] != first
    broken.clear()
    asked.clear()
    app.next_sample({"strategy": "highest_uncertainty"})
    app.next_sample({"strategy": "highest_uncertainty"})
    assert asked == [first]


def test_strategies_are_listed_and_random_is_among_them(app):
    assert set(app.info()["strategies"]) == {
        *("random", "lowest_explainability", "highest_uncertainty", "saliency_disagrees_with_region"),
    }
    assert app.next_sample({"strategy": "random"})["id"] in app.datastore().list_images()


@pytest.mark.parametrize("cases", ["x", 0, -5, 10**9, True, [1], None])
def test_how_many_images_are_looked_at_is_a_number_within_bounds(app, cases):
    with pytest.raises(SettingsError, match="1 to 32"):
        app.next_sample({"strategy": "highest_uncertainty", "cases": cases})
