# SPDX-License-Identifier: Apache-2.0
"""What a viewer saves reaches the datastore without bands and stays beside the image, reader by reader."""

import nibabel
import numpy as np
import pytest

from fedxai.errors import CohortError, ExplanationError
from fedxai.label.grids import read_image, write_answer

BRAIN = "brain_mri_tumor_classification"
SEGMENTS = [{"name": "saliency low", "idx": 1}, {"name": "lesion", "idx": 2}, {"name": "saliency high", "idx": 3}]


@pytest.fixture
def desk(untrained, cohort_2d, cohort_3d, tmp_path, reading_app, request):
    kind = getattr(request, "param", "pictures")
    name = BRAIN if kind == "pictures" else "brain_mri_lesion_classification"
    cases = (cohort_2d if kind == "pictures" else cohort_3d["classification"]).cases("test")
    app = reading_app(tmp_path / "room", model=untrained(name), images=[case.image for case in cases[:2]])
    return app, [case.image.name.split(".")[0] for case in cases[:2]]


def drawn_over(app, identity, extension=".nrrd"):
    """A label map with both bands and a lesion in one corner, as Slicer saves it."""
    image = read_image(app.desk.path(identity))
    labels = np.zeros(image.grid, dtype=np.uint8)
    labels[:20], labels[-8:-2, -9:-3], labels[30:35] = 1, 2, 3
    return write_answer(labels, image.affine, extension), labels == 2


@pytest.mark.parametrize("desk", ["pictures", "volumes"], indirect=True)
def test_two_readers_and_what_each_said_are_kept_and_bands_are_not(desk):
    app, (identity, other) = desk
    store = app.datastore()
    file, lesion = drawn_over(app, identity)
    said = {"label_info": SEGMENTS, "agreement": 2, "label": app.watch.current().bundle.class_names[1].upper()}
    store.save_label(identity, str(file), "final", {**said, "user": "Dr A"})
    store.save_label(identity, str(file), "final", {"label_info": SEGMENTS, "user": "Dr B", "comment": "agreed"})
    one, two = app.feedback.opinions(identity)
    assert (one.reader, one.agreement, two.reader, two.comment) == ("Dr A", 2, "Dr B", "agreed")
    assert one.label == app.watch.current().bundle.class_names[1]
    assert np.array_equal(app.feedback.drawing(one).labels > 0, lesion)
    final = read_image(app.desk.path(identity)).affine
    saved = nibabel.load(store.get_label_uri(identity, "final"))
    assert np.array_equal(np.asanyarray(saved.dataobj) > 0, lesion)
    assert saved.affine == pytest.approx(final, abs=1e-4)
    info = store.get_label_info(identity, "final")
    assert [item["name"] for item in info["label_info"]] == ["lesion"]
    assert store.get_labeled_images() == [identity]
    assert store.get_unlabeled_images() == [other]
    assert app.feedback.folder.parent.name == "studies"
    file.unlink()


def test_e_of_what_was_drawn_comes_with_the_next_saliency(desk):
    app, (identity, _) = desk
    file, lesion = drawn_over(app, identity)
    app.datastore().save_label(identity, str(file), "final", {"label_info": SEGMENTS, "user": "Dr A"})
    told = app.infer({"model": "saliency", "image": identity, "saliency_method": "saliency"})["params"]
    assert 0 < told["scores"]["relevance_mass"] < 1
    assert told["chance"]["relevance_mass"] == pytest.approx(lesion.mean(), rel=0.4)


def test_what_breaks_a_rule_is_refused_before_anything_is_saved(desk, tmp_path):
    app, (identity, _) = desk
    store = app.datastore()
    file, _ = drawn_over(app, identity)
    wrong = tmp_path / "wrong.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.diag([9.0, 9.0, 9.0, 1.0])), wrong)
    for path, info, error in (
        (file, {"label_info": [{"name": "lesion", "idx": 1}]}, CohortError),
        (file, {"label_info": SEGMENTS, "agreement": 9}, CohortError),
        (file, {"label_info": SEGMENTS, "label": "no such class"}, ExplanationError),
        (wrong, {}, CohortError),
    ):
        with pytest.raises(error):
            store.save_label(identity, str(path), "final", {**info, "user": "Dr A"})
    assert store.get_labeled_images() == []
    assert app.feedback.images() == []


def test_what_a_model_draws_is_no_readers_opinion(desk):
    app, (identity, _) = desk
    app.infer({"model": "saliency", "image": identity, "save_label": True, "result_extension": ".nii.gz"})
    assert app.datastore().get_labels_by_image_id(identity) == {"original": identity}
    assert app.feedback.images() == []


def test_ohifs_bytes_are_read_in_its_order(desk, tmp_path):
    app, (identity, _) = desk
    image = read_image(app.desk.path(identity))
    labels = np.zeros(image.grid, dtype=np.uint8)
    labels[3:9, 5:20] = 1
    raw = tmp_path / "label.bin"
    raw.write_bytes(labels.tobytes(order="F"))
    app.datastore().save_label(identity, str(raw), "final", {"user": "Dr O"})
    [opinion] = app.feedback.opinions(identity)
    assert np.array_equal(app.feedback.drawing(opinion).labels, labels)
