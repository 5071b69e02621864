# SPDX-License-Identifier: Apache-2.0
"""What readers said becomes regions and labels of the cohort: the next round and `fedxai cohort check` take it."""

import shutil

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from fedxai.errors import CohortError
from fedxai.intake.check import check_cohorts
from fedxai.intake.cohort import Cohort
from fedxai.label.export import export
from fedxai.label.feedback import Drawn, Feedback, Said
from fedxai.label.grids import read_image


@pytest.fixture
def cohort(cohort_2d, tmp_path):
    shutil.copytree(cohort_2d.folder, tmp_path / "cohort")
    return Cohort.open(tmp_path / "cohort")


@pytest.fixture
def volumes(cohort_3d, tmp_path):
    return {task: Cohort.open(shutil.copytree(cohort.folder, tmp_path / task)) for task, cohort in cohort_3d.items()}


def identity(case):
    return case.image.name.split(".")[0]


def say(studies, case, reader, where=None, names=("lesion",), **said):
    drawn = None
    if where is not None:
        volume = read_image(case.image)
        labels = np.zeros(volume.grid, dtype=np.uint8)
        for value, part in enumerate(where, start=1):
            labels[part] = value
        named = {name: value for value, name in enumerate(names, start=1)}
        drawn = Drawn(labels=labels, affine=volume.affine, names=named)
    Feedback(studies / "feedback").add(identity(case), reader, Said(**said), drawn)
    return drawn


def case_of(cohort, name, split="training"):
    return next(case for case in Cohort.open(cohort.folder).cases(split) if identity(case) == name)


def test_drawn_regions_and_agreed_classes_are_the_cohorts_now(cohort):
    studies = cohort.folder / "images"
    first, second, third = cohort.cases("training")[:3]
    other = cohort.class_names[(first.label + 1) % 3]
    say(studies, first, "A", [np.s_[10:30, 40:70]], label=other)
    say(studies, first, "B", [np.s_[20:40, 40:70]], label=other)
    say(studies, second, "A", label=cohort.class_names[0])
    say(studies, second, "B", label=cohort.class_names[1])
    say(studies, third, "A", [np.s_[0:0]], agreement=1)
    done = export(studies, cohort.folder, rule="intersection")
    assert done.model_dump() == {"images": 3, "regions": 2, "labels": 1, "differing": 1, "unknown": 0}
    region = read_image(case_of(cohort, identity(first)).region).voxels[..., 0]
    assert set(np.unique(region)) == {0, 255}
    assert np.array_equal(np.argwhere(region)[[0, -1]], [[20, 40], [29, 69]])
    assert case_of(cohort, identity(first)).label == cohort.class_names.index(other)
    assert case_of(cohort, identity(second)).label == second.label
    assert case_of(cohort, identity(third)).region is None
    untouched = Cohort.open(cohort.folder).cases("test")
    assert untouched == cohort.cases("test")
    assert len(list(cohort.folder.glob("dataset.before-*.json"))) == 1
    assert not [f for f in check_cohorts(cohort.folder).findings if f.level == "error"]


def test_nothing_new_writes_nothing(cohort):
    studies = cohort.folder / "images"
    say(studies, cohort.cases("training")[0], "A", agreement=4, comment="yes")
    before = (cohort.folder / "dataset.json").read_bytes()
    assert export(studies, cohort.folder).regions == 0
    assert (cohort.folder / "dataset.json").read_bytes() == before
    assert not list(cohort.folder.glob("dataset.before-*.json"))


def test_images_of_other_names_are_found_by_what_they_show(volumes, tmp_path):
    """The hospital's own file: another name, and its axes turned; the region lands on the cohort's voxels."""
    cohort = volumes["classification"]
    case = cohort.cases("training")[0]
    image = nibabel.load(case.image)
    flips = np.array([[1, 1], [0, -1], [2, -1]])
    turned = image.as_reoriented(flips)
    studies = tmp_path / "studies"
    studies.mkdir()
    nibabel.save(turned, studies / "own_name.nii.gz")
    volume = read_image(studies / "own_name.nii.gz")
    labels = np.zeros(volume.grid, dtype=np.uint8)
    labels[4:9, 12:20, 3:6] = 1
    drawn = Drawn(labels=labels, affine=volume.affine, names={"lesion": 1})
    Feedback(studies / "feedback").add("own_name", "A", Said(), drawn)
    Feedback(studies / "feedback").add("elsewhere", "A", Said(agreement=1))
    done = export(studies, cohort.folder)
    assert (done.regions, done.unknown) == (1, 1)
    region = nibabel.load(case_of(cohort, identity(case)).region)
    assert region.affine == pytest.approx(image.affine, abs=1e-4)
    assert np.array_equal(np.asanyarray(region.as_reoriented(flips).dataobj), labels)


def test_a_segmentation_gets_label_maps(volumes):
    cohort = volumes["segmentation"]
    case = cohort.cases("training")[0]
    names = tuple(cohort.class_names[1:3])
    where = [np.s_[5:12, 5:12, 2:5], np.s_[15:22, 5:12, 2:5]]
    drawn = say(cohort.folder / "images", case, "A", where, names)
    assert export(cohort.folder / "images", cohort.folder).regions == 1
    label = nibabel.load(case_of(cohort, identity(case)).label)
    assert np.array_equal(np.asanyarray(label.dataobj), drawn.labels)
    assert not [f for f in check_cohorts(cohort.folder).findings if f.level == "error"]


def test_what_names_no_class_leaves_a_label_map_as_it_is(volumes):
    cohort = volumes["segmentation"]
    case = cohort.cases("training")[0]
    say(cohort.folder / "images", case, "A", [np.s_[5:12, 5:12, 2:5]], ("lesion",))
    assert export(cohort.folder / "images", cohort.folder).regions == 0
    assert case_of(cohort, identity(case)).label == case.label


def test_a_class_the_cohort_does_not_have_or_no_feedback_is_one_sentence(cohort, tmp_path):
    with pytest.raises(CohortError, match="no feedback"):
        export(tmp_path / "nothing", cohort.folder)
    say(cohort.folder / "images", cohort.cases("training")[0], "A", label="astrocytoma")
    with pytest.raises(CohortError, match="does not have"):
        export(cohort.folder / "images", cohort.folder)


def test_the_commands_export_and_show_how_much_readers_agree(cohort):
    from fedxai.cli import app

    studies, case = cohort.folder / "images", cohort.cases("training")[0]
    for reader, shift in (("A", 0), ("B", 10)):
        say(studies, case, reader, [np.s_[10 + shift : 30 + shift, 40:70]], agreement=3 + (reader == "B"))
    told = CliRunner().invoke(app, ["label", "export", str(studies), str(cohort.folder), "--rule", "union"])
    assert told.exit_code == 0, told.output
    assert "1 regions" in told.output
    told = CliRunner().invoke(app, ["label", "readers", str(studies)])
    assert "2 readers, 1 images with two or more" in told.output
    assert "dice: 0.500 (n = 1)" in told.output
