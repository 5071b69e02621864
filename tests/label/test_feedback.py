# SPDX-License-Identifier: Apache-2.0
"""What readers say is kept whole, by reader, without saliency bands; and their agreement is computed."""

import json

import numpy as np
import pytest

from fedxai.errors import CohortError
from fedxai.label.feedback import Drawn, Feedback, Said
from fedxai.label.readers import agreed_label, agreement, common, drawings, label_map

AFFINE = np.diag([2.0, 1.0, 3.0, 1.0])
SHAPE = (6, 5, 4)


def block(size: int, at: int = 0, value: int = 1) -> np.ndarray:
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[at : at + size, :2, :2] = value
    return labels


def drawn(labels, **names):
    return Drawn(labels=labels, affine=AFFINE, names=names or {"lesion": 1})


@pytest.fixture
def feedback(tmp_path):
    return Feedback(tmp_path / "feedback", model=lambda: "f" * 64)


def test_two_readers_of_one_case_are_both_kept(feedback):
    feedback.add("case", "Dr A", Said(agreement=4), drawn(block(2)))
    feedback.add("case", "Dr B", Said(agreement=1, comment="beside it"), drawn(block(2, at=3)))
    one, other = feedback.opinions("case")
    assert (one.reader, one.agreement, other.reader, other.comment) == ("Dr A", 4, "Dr B", "beside it")
    assert np.array_equal(feedback.drawing(other).labels, block(2, at=3))
    assert feedback.drawing(one).affine == pytest.approx(AFFINE)
    assert one.model == "f" * 64
    assert one.time.utcoffset().total_seconds() == 0


def test_a_reader_who_rates_later_keeps_what_was_drawn(feedback):
    feedback.add("case", "Dr A", Said(comment="first"), drawn(block(2)))
    feedback.add("case", "Dr A", Said(agreement=2))
    [opinion] = feedback.opinions("case")
    assert (opinion.agreement, opinion.comment, opinion.names) == (2, "first", {"lesion": 1})
    feedback.add("case", "Dr A", Said(), drawn(block(3), tumour=1))
    [opinion] = feedback.opinions("case")
    assert (opinion.names, int(feedback.drawing(opinion).labels.sum())) == ({"tumour": 1}, 12)
    assert len(feedback.history("case")) == 3


def test_bands_are_dropped_by_name_and_pieces_of_one_name_joined():
    labels = np.maximum.reduce([block(1), block(1, at=1, value=2), block(1, at=2, value=3), block(1, at=3, value=5)])
    kept = Drawn.of(labels, AFFINE, {1: "saliency low", 2: "lesion", 3: "Saliency_High", 5: "lesion"})
    assert kept.names == {"lesion": 2}
    assert np.array_equal(kept.labels > 0, np.isin(labels, (2, 5)))
    assert set(np.unique(kept.labels)) == {0, 2}


def test_a_value_without_a_name_is_refused_and_a_map_without_a_list_is_one_region():
    with pytest.raises(CohortError, match="does not name"):
        Drawn.of(block(2, value=4), AFFINE, {1: "lesion"})
    assert Drawn.of(block(2, value=4), AFFINE, None).masks()["region"].sum() == 8


@pytest.mark.parametrize(
    "told", [{"agreement": 5}, {"agreement": 0}, {"agreement": "very"}, {"comment": "x" * 20_000}, {"label": "x" * 200}]
)
def test_what_breaks_a_rule_is_one_sentence(told):
    with pytest.raises(CohortError):
        Said.of(told)


@pytest.mark.parametrize("image", ["", "../x", "a/b", ".hidden", "a\\b"])
def test_an_id_that_is_a_path_is_refused(feedback, image):
    with pytest.raises(CohortError, match="path"):
        feedback.add(image, "Dr A", Said(agreement=1))
    assert not feedback.folder.exists()


def test_a_record_is_there_whole_or_not_at_all(feedback, monkeypatch):
    feedback.add("case", "Dr A", Said(agreement=3))

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr("fedxai.label.feedback.write_whole", refuse)
    with pytest.raises(OSError, match="full"):
        feedback.add("case", "Dr B", Said(agreement=1), drawn(block(2)))
    assert [opinion.reader for opinion in feedback.opinions("case")] == ["Dr A"]
    [record] = (feedback.folder / "case").glob("*-*.json")
    record.write_text(record.read_text()[:20])
    with pytest.raises(CohortError, match="damaged"):
        feedback.opinions("case")


def test_agreement_is_that_of_the_formulas(feedback):
    from sklearn.metrics import cohen_kappa_score

    truth = {"a": (block(4), block(2)), "b": (block(3), block(3)), "c": (block(2), block(2, at=3))}
    labels = {"a": ("glioma", "glioma"), "b": ("glioma", "pituitary"), "c": ("pituitary", "pituitary")}
    for image, maps in truth.items():
        for reader, labels_of, name, step in zip("AB", maps, labels[image], (4, 2), strict=True):
            feedback.add(image, reader, Said(label=name, agreement=step), drawn(labels_of))
    feedback.add("d", "A", Said(agreement=1))
    found = agreement(feedback)
    assert (found.images, found.readers, found.dice.n) == (3, 2, 3)
    assert found.dice.value == pytest.approx(np.mean([2 * 8 / 24, 1, 0]), abs=1e-4)
    voxels = [cohen_kappa_score(one.ravel() > 0, other.ravel() > 0) for one, other in truth.values()]
    assert found.kappa_region.value == pytest.approx(np.mean(voxels), abs=1e-4)
    assert found.kappa_label.value == pytest.approx(cohen_kappa_score(*zip(*labels.values(), strict=True)), abs=1e-4)
    assert found.kappa_agreement.n == 3
    assert agreement(feedback, ["d"]).dice.n == 0


def test_regions_of_several_readers_become_one_by_the_rule():
    masks = [block(4) > 0, block(2) > 0, block(2, at=1) > 0]
    assert common(masks, "union").sum() == 16
    assert common(masks, "intersection").sum() == 4
    assert common(masks, "majority").sum() == 12
    assert np.array_equal(common(masks[:2], "majority"), common(masks[:2], "union"))


def test_a_class_is_agreed_where_nobody_says_otherwise(feedback):
    feedback.add("case", "A", Said(label="glioma"))
    feedback.add("case", "B", Said(agreement=1))
    assert agreed_label(feedback.opinions("case")) == "glioma"
    feedback.add("case", "C", Said(label="pituitary"))
    assert agreed_label(feedback.opinions("case")) is None


def test_a_segmentation_of_several_readers_takes_the_class_that_more_drew(feedback):
    both = np.maximum(block(2), block(2, at=2, value=2))
    feedback.add("case", "A", Said(), drawn(both, anterior=1, posterior=2))
    feedback.add("case", "B", Said(), drawn(block(3), Anterior=1))
    feedback.add("case", "C", Said(), drawn(block(3), anterior=1, skull=7))
    found = drawings(feedback, "case")
    assert set(found) == {"A", "B", "C"}
    assert np.array_equal(label_map(found.values(), ["background", "anterior", "posterior"]), block(3))
    assert drawings(feedback, "nobody") == {}


def test_records_hold_what_the_reader_said_and_nothing_of_the_image(feedback):
    feedback.add("case", "Dr A", Said(comment="seen"), drawn(block(1)))
    [record] = (feedback.folder / "case").glob("*-*.json")
    assert set(json.loads(record.read_text())) == {
        *("label", "agreement", "comment", "image", "reader", "time", "drawing", "names", "model"),
    }
