# SPDX-License-Identifier: Apache-2.0
"""What a cohort on disk promises, and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fedxai.errors import CohortError
from fedxai.intake.cohort import Cohort, cohorts_at, site_cohorts
from fedxai.intake.pixels import encode_png
from fedxai.records import Case


def _write(folder, *, groups=("p1", "p2", "p3"), labels=(0, 1, 0), **extra):
    (folder / "images").mkdir(parents=True, exist_ok=True)
    cases = []
    for i, (group, label) in enumerate(zip(groups, labels, strict=True)):
        path = folder / "images" / f"{i}.png"
        path.write_bytes(encode_png(np.full((4, 5), i, dtype=np.uint8)))
        cases.append(Case(image=path, label=label, group=group))
    splits = {"training": cases[:1], "validation": cases[1:2], "test": cases[2:]}
    return Cohort.write(
        folder,
        name="tiny",
        description="three images",
        modality="MRI",
        class_names=["no", "yes"],
        splits=splits,
        **extra,
    )


def _edit(folder, change):
    path = folder / "dataset.json"
    datalist = json.loads(path.read_text())
    change(datalist)
    path.write_text(json.dumps(datalist))


def test_what_is_written_is_read_back(tmp_path):
    _write(tmp_path / "a", pseudonyms="abc")
    cohort = Cohort.open(tmp_path / "a")
    assert (cohort.name, cohort.modality, cohort.class_names) == ("tiny", "MRI", ["no", "yes"])
    assert cohort.pseudonyms == "abc"
    assert cohort.counts().model_dump() == {"training": 1, "validation": 1, "test": 1}
    (case,) = cohort.cases("validation")
    assert case.image == tmp_path / "a/images/1.png"
    assert (case.label, case.group, case.region) == (1, "p2", None)


def test_the_spacing_of_a_picture_is_kept_and_must_be_two_lengths(tmp_path):
    _write(tmp_path)
    _edit(tmp_path, lambda d: d["test"][0].update(spacing=[0.2, 0.1]))
    cohort = Cohort.open(tmp_path)
    assert cohort.cases("test")[0].spacing == (0.2, 0.1)
    assert cohort.cases("training")[0].spacing is None
    kept = Cohort.write(
        tmp_path, name="a", description="", modality="DX", class_names=["no", "yes"], splits=cohort.splits()
    )
    assert kept.cases("test")[0].spacing == (0.2, 0.1)
    for wrong in (0.2, [0.2], [0.2, 0], [0.2, "0.1"], None):
        _edit(tmp_path, lambda d, wrong=wrong: d["test"][0].update(spacing=wrong))
        with pytest.raises(CohortError, match="test case 0 must have two lengths above 0 mm as its spacing"):
            Cohort.open(tmp_path)


def test_datalist_is_the_decathlons_and_monai_reads_it(tmp_path):
    from monai.data import load_decathlon_datalist

    _write(tmp_path)
    entries = load_decathlon_datalist(str(tmp_path / "dataset.json"), is_segmentation=False)
    assert entries == [{"image": str(tmp_path / "images/0.png"), "label": 0, "group": "p1"}]


def test_holding_counts_cases_and_the_bytes_of_distinct_files(tmp_path):
    cohort = _write(tmp_path)
    (tmp_path / "notes.txt").write_text("does not belong to the cohort")
    by_hand = sum(path.stat().st_size for path in [tmp_path / "dataset.json", *tmp_path.glob("images/*")])
    assert cohort.holding().model_dump() == {"case_records": 3, "bytes": by_hand}


def test_a_patient_in_two_splits_is_refused_unless_asked_for(tmp_path):
    with pytest.raises(CohortError, match="patient p1 is in training and in test"):
        _write(tmp_path, groups=("p1", "p2", "p1"))
    assert not (tmp_path / "dataset.json").exists()
    _write(tmp_path)
    _edit(tmp_path, lambda d: d["test"][0].update(group="p1"))
    with pytest.raises(CohortError, match="one split only"):
        Cohort.open(tmp_path)
    assert Cohort.open(tmp_path, leaks=True).counts().test == 1


@pytest.mark.parametrize("path", ["../outside.png", "/etc/passwd", "images/../../x.png", "", "images\\x.png"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, path):
    _write(tmp_path)
    _edit(tmp_path, lambda d: d["training"][0].update(image=path))
    with pytest.raises(CohortError, match="stays in the cohort's folder"):
        Cohort.open(tmp_path)


def test_a_file_outside_the_folder_is_not_written(tmp_path):
    stray = Case(image=tmp_path / "x.png", label=0)
    with pytest.raises(CohortError, match="must lie inside its folder"):
        Cohort.write(
            tmp_path / "a",
            name="a",
            description="",
            modality="MRI",
            class_names=["x"],
            splits={"test": [stray]},
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["labels"].pop("0"), "labels must name every class"),
        (lambda d: d.pop("modality"), "modality must be given"),
        (lambda d: d["training"][0].update(label=2), "integer label from 0 to 1"),
        (lambda d: d["training"][0].update(label="1"), "integer label from 0 to 1"),
        (lambda d: d.update(training={}), "training must be a list"),
        (lambda d: d.update(training=[], validation=[], test=[]), "lists no case"),
    ],
)
def test_a_broken_datalist_is_refused_in_one_sentence(tmp_path, change, message):
    _write(tmp_path)
    _edit(tmp_path, change)
    with pytest.raises(CohortError, match=message) as caught:
        Cohort.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_cohort_and_no_json_are_refused(tmp_path):
    with pytest.raises(CohortError, match=r"has no dataset\.json"):
        Cohort.open(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(CohortError, match="cannot be read"):
        Cohort.open(tmp_path)


def test_a_root_lists_its_sites_in_natural_order(tmp_path):
    for name in ("site-10", "site-2", "site-1"):
        _write(tmp_path / name)
    (tmp_path / "readme").mkdir()
    assert list(site_cohorts(tmp_path)) == ["site-1", "site-2", "site-10"]
    assert cohorts_at(tmp_path / "site-2") == {"site-2": tmp_path / "site-2"}
    with pytest.raises(CohortError, match="it has none"):
        site_cohorts(tmp_path / "readme")
    with pytest.raises(CohortError, match="does not exist"):
        site_cohorts(tmp_path / "nowhere")


def _write_maps(folder, **changes):
    """Three cases whose labels are maps; ``changes`` replaces fields of the first case."""
    cases = []
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for i in range(3):
        for kind in ("images", "labels"):
            (folder / kind / f"{i}.png").write_bytes(encode_png(np.full((4, 5), i, dtype=np.uint8)))
        cases.append(Case(image=folder / f"images/{i}.png", label=folder / f"labels/{i}.png", group=f"p{i}"))
    cases[0] = replace(cases[0], **changes)
    splits = {"training": cases[:1], "validation": cases[1:2], "test": cases[2:]}
    names = ["background", "anterior", "posterior"]
    return Cohort.write(folder, name="maps", description="", modality="MRI", class_names=names, splits=splits)


def test_labels_of_a_segmentation_cohort_are_maps(tmp_path):
    _write_maps(tmp_path)
    cohort = Cohort.open(tmp_path)
    (case,) = cohort.cases("test")
    assert cohort.task == case.task == "segmentation"
    assert case.label == tmp_path / "labels/2.png"
    assert json.loads((tmp_path / "dataset.json").read_text())["test"][0]["label"] == "labels/2.png"
    with pytest.raises(CohortError, match="must be a class here, got a label map"):
        _ = case.class_index


def test_monai_reads_a_segmentation_datalist_with_absolute_label_maps(tmp_path):
    from monai.data import load_decathlon_datalist

    _write_maps(tmp_path)
    (entry,) = load_decathlon_datalist(str(tmp_path / "dataset.json"), data_list_key="validation")
    assert entry["label"] == str(tmp_path / "labels/1.png")


def test_classes_are_not_mixed_with_label_maps(tmp_path):
    with pytest.raises(CohortError, match="every case a class, or every case a label map; it mixes them"):
        _write_maps(tmp_path, label=0)


@pytest.mark.parametrize("label", ["../x.png", "/x.png", "", "a\\b.png", 1.0, None, True])
def test_a_label_is_a_class_or_a_path_inside(tmp_path, label):
    _write_maps(tmp_path)
    _edit(tmp_path, lambda datalist: datalist["test"][0].update(label=label))
    with pytest.raises(CohortError, match="test case 0 must have (an integer label|a relative label path)"):
        Cohort.open(tmp_path)


def test_holding_counts_the_label_maps(tmp_path):
    cohort = _write_maps(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 7
    assert cohort.holding().bytes == sum(path.stat().st_size for path in files)
