# SPDX-License-Identifier: Apache-2.0
"""Every planted defect is found with its file and its remedy; clean cohorts pass in silence."""

import io
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from fedxai.errors import CohortError
from fedxai.intake.check import check_cohorts
from fedxai.intake.cohort import Cohort
from fedxai.intake.phantom import make_phantom_sites
from fedxai.intake.phantom_3d import make_phantom_3d
from fedxai.intake.raster import take_raster
from fedxai.intake.split import make_sites
from fedxai.intake.table import Columns
from fedxai.intake.taking import IntakeSettings
from fedxai.intake.volume import Volume


def _edit(folder, change):
    path = folder / "dataset.json"
    datalist = json.loads(path.read_text())
    change(datalist)
    path.write_text(json.dumps(datalist))


def _list(folder, name, split="test", label=0, **more):
    entry = {"image": f"images/{name}", "label": label, "group": "p9999", **more}
    _edit(folder, lambda d: d[split].append(entry))


def _only(checked, rule):
    """The single finding of a rule; everything else must be quiet."""
    assert [finding.rule for finding in checked.findings] == [rule], checked.findings
    return checked.findings[0]


def test_a_clean_cohort_and_its_sites_pass_in_silence(cohort, tmp_path):
    assert check_cohorts(cohort.folder).findings == []
    make_sites(cohort, tmp_path / "sites", sites=2)
    checked = check_cohorts(tmp_path / "sites")
    assert (checked.cohorts, checked.images) == (2, 48)
    assert [finding for finding in checked.findings if finding.rule != "missing class"] == []


def _jpeg(image):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=75)
    return Image.open(buffer)


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (lambda image: image, "the same image as"),
        (_jpeg, "a copy of"),
        (lambda image: image.resize((96, 96), Image.Resampling.BICUBIC), "a copy of"),
        (lambda image: image.resize((48, 48), Image.Resampling.BILINEAR), "a copy of"),
        (lambda image: image.point(lambda v: round(255 * (v / 255) ** 0.8)), "a copy of"),
    ],
    ids=["bytes", "jpeg", "larger", "smaller", "contrast"],
)
def test_a_copy_in_another_split_is_found(cohort, alter, words):
    original = cohort.cases("training")[3]
    alter(Image.open(original.image)).save(cohort.folder / "images/copy.png")
    _list(cohort.folder, "copy.png", label=original.label)
    finding = _only(check_cohorts(cohort.folder), "copy")
    assert finding.level == "error"
    assert finding.where == "images/copy.png"
    assert words in finding.what
    assert original.image.name in finding.what


def test_a_copy_at_another_site_in_the_same_split_is_a_warning(cohort, tmp_path):
    make_sites(cohort, tmp_path / "sites", sites=2)
    one, two = (Cohort.open(tmp_path / f"sites/site-{i}") for i in (1, 2))
    original = one.cases("training")[0]
    shutil.copy(original.image, two.folder / "images/copy.png")
    _list(two.folder, "copy.png", split="training", label=original.label)
    copies = [finding for finding in check_cohorts(tmp_path / "sites").findings if finding.rule == "copy"]
    assert [(finding.level, finding.where) for finding in copies] == [("warning", "site-2/images/copy.png")]


def test_a_patient_in_two_splits_is_found(cohort):
    group = cohort.cases("training")[0].group
    _edit(cohort.folder, lambda d: d["test"][0].update(group=group))
    finding = _only(check_cohorts(cohort.folder), "patient")
    assert finding.level == "error"
    assert group in finding.what


def test_a_patient_at_two_sites_is_found_only_where_pseudonyms_have_one_origin(cohort, tmp_path):
    make_sites(cohort, tmp_path / "sites", sites=2)
    one, two = (tmp_path / f"sites/site-{i}" for i in (1, 2))
    group = Cohort.open(one).cases("training")[0].group
    _edit(two, lambda d: d["training"][0].update(group=group))
    (finding,) = [f for f in check_cohorts(tmp_path / "sites").findings if f.rule == "patient"]
    assert finding.where.startswith("site-2/images/")
    _edit(two, lambda d: d.update(pseudonyms="another origin"))
    assert [f for f in check_cohorts(tmp_path / "sites").findings if f.rule == "patient"] == []


def test_a_missing_class_is_a_warning_at_a_site_and_an_error_where_nobody_trains_it(cohort, tmp_path):
    make_sites(cohort, tmp_path / "sites", sites=2)
    for i in (1, 2):
        _edit(
            tmp_path / f"sites/site-{i}",
            lambda d: d.update(training=[c for c in d["training"] if c["label"] != 1]),
        )
        found = check_cohorts(tmp_path / "sites").findings
        assert any(f.where == f"site-{i}" and f.what == "has no meningioma in training" for f in found)
        assert any(f.level == "error" for f in found) == (i == 2)


@pytest.mark.parametrize(
    ("harm", "rule"),
    [
        (lambda path: Image.open(path).resize((32, 32)).save(path), "mask size"),
        (lambda path: Image.new("L", (64, 64)).save(path), "empty mask"),
        (lambda path: Image.open(path).point(lambda value: min(value, 1)).save(path), "faint mask"),
        (lambda path: Image.open(path).convert("1").save(path), "faint mask"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "unreadable"),
        (lambda path: path.unlink(), "unreadable"),
    ],
)
def test_a_bad_mask_is_found(cohort, harm, rule):
    region = cohort.cases("validation")[0].region
    harm(region)
    finding = _only(check_cohorts(cohort.folder), rule)
    assert (finding.level, finding.where) == ("error", f"regions/{region.name}")
    assert finding.remedy


def test_a_region_that_fills_the_image_is_a_warning(cohort):
    Image.new("L", (64, 64), 255).save(cohort.cases("test")[0].region)
    assert _only(check_cohorts(cohort.folder), "full mask").level == "warning"


def test_a_truncated_image_is_found(cohort):
    image = cohort.cases("test")[0].image
    image.write_bytes(image.read_bytes()[:300])
    finding = _only(check_cohorts(cohort.folder), "unreadable")
    assert (finding.level, finding.where) == ("error", f"images/{image.name}")
    assert "export it again" in str(finding)


def test_the_same_image_with_two_labels_is_found(cohort):
    case = cohort.cases("training")[0]
    shutil.copy(case.image, cohort.folder / "images/again.png")
    _list(cohort.folder, "again.png", split="training", label=(case.label + 1) % 3)
    assert _only(check_cohorts(cohort.folder), "two labels").where == "images/again.png"


def test_colour_among_gray_a_constant_image_and_no_groups_are_found(cohort):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(cohort.folder / "images/colour.png")
    Image.new("L", (64, 64), 9).save(cohort.folder / "images/flat.png")
    _list(cohort.folder, "colour.png")
    _list(cohort.folder, "flat.png")
    _edit(cohort.folder, lambda d: [c.pop("group") for s in ("training", "validation", "test") for c in d[s]])
    found = {(finding.level, finding.rule) for finding in check_cohorts(cohort.folder).findings}
    assert found == {("error", "channels"), ("warning", "constant"), ("warning", "patient")}


def test_sites_with_classes_in_another_order_and_an_unreadable_site_are_found(cohort, tmp_path):
    make_sites(cohort, tmp_path / "sites", sites=3)
    _edit(tmp_path / "sites/site-2", lambda d: d["labels"].update({"0": "meningioma", "1": "glioma"}))
    (tmp_path / "sites/site-3/dataset.json").write_text("{")
    errors = {(f.rule, f.where) for f in check_cohorts(tmp_path / "sites").findings if f.level == "error"}
    assert errors == {("class names", "site-2"), ("unreadable", "site-3")}


def test_no_training_cases_is_an_error_and_no_test_cases_a_warning(cohort):
    _edit(cohort.folder, lambda d: d.update(test=[]))
    assert _only(check_cohorts(cohort.folder), "empty split").level == "warning"
    _edit(cohort.folder, lambda d: d.update(training=[]))
    assert not check_cohorts(cohort.folder).passed


def test_a_folder_without_cohorts_is_refused(tmp_path):
    with pytest.raises(CohortError, match="it has none"):
        check_cohorts(tmp_path)


def test_the_phantom_raises_no_alarm(tmp_path):
    make_phantom_sites(tmp_path / "phantom", sites=2, cases=60)
    assert check_cohorts(tmp_path / "phantom").findings == []


@pytest.mark.slow
def test_neighbouring_slices_of_the_real_set_raise_no_alarm(shared_data, tmp_path):
    folder = shared_data / "brain_tumor_mri"
    # Each slice as a patient of its own: neighbours are dealt to different splits, as a wrong export would.
    columns = Columns(group="image")
    take_raster(folder, folder / "cases.csv", tmp_path / "brain", columns=columns, settings=IntakeSettings())
    assert check_cohorts(tmp_path / "brain").findings == []


@pytest.fixture
def volumes(tmp_path):
    """Twelve volumes of twelve patients with label maps of three values."""
    return make_phantom_3d(tmp_path / "v", site="v", index=0, task="segmentation", cases=12)


def _map(case):
    return nib.load(case.label).get_fdata().astype(np.uint8)


def test_clean_volumes_pass_in_silence(volumes):
    assert check_cohorts(volumes.folder).findings == []


@pytest.mark.parametrize(
    ("harm", "rule", "level"),
    [
        (lambda values: (values * 3, 0), "unknown value", "error"),
        (lambda values: (values[:-1], 0), "mask size", "error"),
        (lambda values: (values, 5), "mask place", "error"),
        (lambda values: (values * 0, 0), "empty label map", "warning"),
    ],
)
def test_a_bad_label_map_is_found(volumes, harm, rule, level):
    case = volumes.cases("training")[0]
    affine = nib.load(case.label).affine
    values, shift = harm(_map(case))
    affine[0, 3] += shift
    Volume(voxels=values, affine=affine).write(case.label)
    finding = _only(check_cohorts(volumes.folder), rule)
    assert (finding.level, finding.where) == (level, f"labels/{case.label.name}")


def test_a_truncated_volume_and_a_missing_label_map_are_found(volumes):
    one, two = volumes.cases("training")[:2]
    one.image.write_bytes(one.image.read_bytes()[:300])
    two.label.unlink()
    checked = check_cohorts(volumes.folder)
    assert {finding.where for finding in checked.findings} == {f"images/{one.image.name}", f"labels/{two.label.name}"}
    assert {finding.rule for finding in checked.findings} == {"unreadable"}


def test_the_same_volume_in_two_splits_and_with_two_label_maps_is_found(volumes):
    one, other = volumes.cases("training")[0], volumes.cases("test")[0]
    shutil.copy(one.image, other.image)
    assert [finding.rule for finding in check_cohorts(volumes.folder).findings] == ["copy", "two labels"]


def test_a_value_that_no_label_map_shows_is_a_missing_class(volumes):
    for split in ("training", "validation", "test"):
        for case in volumes.cases(split):
            Volume(voxels=np.minimum(_map(case), 1), affine=nib.load(case.label).affine).write(case.label)
    rules = {finding.rule for finding in check_cohorts(volumes.folder).findings}
    assert rules == {"missing class"}


def test_sites_for_different_tasks_and_images_among_volumes_are_found(volumes, cohort, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(volumes.folder, root / "site-1")
    shutil.copytree(cohort.folder, root / "site-2")
    rules = [finding.rule for finding in check_cohorts(root).findings if finding.level == "error"]
    assert {"task", "channels", "class names"} <= set(rules)
