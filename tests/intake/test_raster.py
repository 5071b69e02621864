# SPDX-License-Identifier: Apache-2.0
"""From image files and a table to a cohort: what stays, what goes, what is refused."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from fedxai.errors import CohortError
from fedxai.intake import raster
from fedxai.intake.table import Columns
from fedxai.records import SPLITS


def _cases(cohort):
    return [case for split in SPLITS for case in cohort.cases(split)]


def _replace(export, old, new):
    table = export / "cases.csv"
    table.write_text(table.read_text().replace(old, new))


def test_every_image_is_kept_once_without_loss(take, export):
    cohort = take().cohort
    stored = sorted(np.asarray(Image.open(case.image)).tobytes() for case in _cases(cohort))
    given = sorted(np.asarray(Image.open(path)).tobytes() for path in export.glob("images/*"))
    assert stored == given
    assert cohort.class_names == ["glioma", "meningioma", "pituitary"]


def test_no_name_of_the_hospital_survives(take):
    cohort = take(columns=Columns(tabular=["age"])).cohort
    text = (cohort.folder / "dataset.json").read_text()
    assert "patient " not in text
    assert "cases.csv" not in text
    for case in _cases(cohort):
        assert case.image.stem == hashlib.sha256(case.image.read_bytes()).hexdigest()[:16]
        assert case.region is not None
        assert case.region.name == case.image.name
    assert sorted({case.group for case in _cases(cohort)}) == [f"p{i + 1:04d}" for i in range(24)]


def test_label_mask_and_table_stay_with_their_image(take, export):
    cohort = take(columns=Columns(tabular=["age"])).cohort
    lines = [line.split(",") for line in (export / "cases.csv").read_text().splitlines()[1:]]
    given = {Image.open(export / image).tobytes(): rest for image, *rest in lines}
    for case in _cases(cohort):
        mask, label, _, age = given[Image.open(case.image).tobytes()]
        assert cohort.class_names[case.label] == label
        assert Image.open(case.region).tobytes() == Image.open(export / mask).tobytes()
        assert case.tabular == ({"age": float(age)} if age else {})


def test_same_seed_same_bytes_and_another_seed_another_split(take, tmp_path):
    one, two, other = (take(tmp_path / name, seed=seed).cohort for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    lists = [json.loads((c.folder / "dataset.json").read_text()) for c in (one, two, other)]
    assert lists[0]["training"] == lists[1]["training"]
    assert {c["image"] for c in lists[0]["test"]} != {c["image"] for c in lists[2]["test"]}


def test_identical_images_of_two_patients_make_them_one(take, export):
    Image.open(export / "images/00.png").save(export / "images/30.png", compress_level=1)
    _replace(export, "images/30.png,masks/30.png", "images/30.png,masks/00.png")
    taken = take()
    assert len({case.group for case in _cases(taken.cohort)}) == 23
    assert any("1 of 48 images repeat" in note for note in taken.notes)


def test_identical_images_with_different_masks_are_refused(take, export, tmp_path):
    Image.open(export / "images/00.png").save(export / "images/31.png")
    with pytest.raises(CohortError, match=r"Row 33: .*different masks"):
        take()
    assert not (tmp_path / "cohort").exists()


def test_class_names_fix_the_order_even_of_classes_that_are_absent(take):
    names = ["pituitary", "healthy", "glioma", "meningioma"]
    assert take(class_names=names).cohort.class_names == names


def test_integer_labels_can_be_named(take, export):
    for number, name in enumerate(("meningioma", "glioma", "pituitary")):
        _replace(export, name, str(number))
    assert take(class_names=["a", "b", "c"]).cohort.class_names == ["a", "b", "c"]
    with pytest.raises(CohortError, match="go up to 2, but --class-name names 2"):
        take(export / "other", class_names=["a", "b"])


def test_integer_labels_with_a_gap_are_refused(take, export):
    for number, name in ((1, "meningioma"), (2, "glioma"), (4, "pituitary")):
        _replace(export, name, str(number))
    with pytest.raises(CohortError, match=r"must be 0\.\.K-1, got 1, 2, 4"):
        take()


def test_the_tables_own_split_is_kept(take, export):
    lines = (export / "cases.csv").read_text().splitlines()
    words = ["train", "val", "Test"]
    own = [f"{line},{words[i // 2 % 3]}" for i, line in enumerate(lines[1:])]
    (export / "cases.csv").write_text("\n".join([lines[0] + ",fold", *own]))
    assert take(columns=Columns(split="fold")).cohort.counts().model_dump() == dict.fromkeys(SPLITS, 16)
    own[1] = own[1].replace("train", "test")
    (export / "cases.csv").write_text("\n".join([lines[0] + ",fold", *own]))
    with pytest.raises(CohortError, match="Row 3 is in test, but its patient"):
        take(export / "other", columns=Columns(split="fold"))


def test_semicolons_and_a_byte_order_mark_are_read(take, export):
    table = export / "cases.csv"
    table.write_text("\ufeff" + table.read_text().replace(",", ";"), encoding="utf-8")
    assert sum(take().cohort.counts().model_dump().values()) == 48


def test_without_a_group_column_the_person_is_told(take, export):
    _replace(export, "group", "someone")
    taken = take()
    assert len({case.group for case in _cases(taken.cohort)}) == 48
    assert "every image counts as a patient" in taken.notes[0]


def test_colour_is_kept_for_all_or_none(take, export, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(
        export / "images/05.png"
    )
    modes = {Image.open(case.image).mode for case in _cases(take().cohort)}
    assert modes == {"RGB"}
    modes = {Image.open(case.image).mode for case in _cases(take(tmp_path / "gray", gray=True).cohort)}
    assert modes == {"L"}


def _remove(path):
    path.unlink()


def _truncate(path):
    path.write_bytes(path.read_bytes()[:200])


def _shrink(path):
    Image.open(path).resize((32, 32)).save(path)


@pytest.mark.parametrize(
    ("file", "harm", "message"),
    [
        ("images/03.png", _remove, "image in row 5 does not exist"),
        ("images/03.png", _truncate, "image in row 5 cannot be read"),
        ("masks/03.png", _remove, "mask in row 5 does not exist"),
        ("masks/03.png", _shrink, r"mask in row 5 is \(32, 32\) and its image \(64, 64\)"),
    ],
)
def test_a_bad_file_is_named_by_its_row_and_nothing_is_left(take, export, tmp_path, file, harm, message):
    harm(export / file)
    with pytest.raises(CohortError, match=message):
        take()
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            Columns(image="file"),
            "--image-column 'file' is not in cases.csv; its columns are image, mask, label",
        ),
        (Columns(mask="roi"), "--mask-column 'roi' is not in"),
        (Columns(group="pid"), "--group-column 'pid' is not in"),
        (Columns(tabular=["age", "sex"]), "--tabular-column 'sex' is not in"),
        (Columns(tabular=["group"]), "Row 2: --tabular-column 'group' must hold finite numbers"),
        (Columns(split="label"), "Row 2: 'label' must be training, validation or test"),
    ],
)
def test_a_wrong_column_is_refused(take, columns, message):
    with pytest.raises(CohortError, match=message):
        take(columns=columns)


def test_an_empty_table_cell_or_folder_is_refused(take, export):
    for content, message in (
        ("", "is empty"),
        ("image,label\n", "no rows"),
        ("image,label\na.png,\n", "empty 'label'"),
    ):
        (export / "bad.csv").write_text(content)
        with pytest.raises(CohortError, match=message):
            take(table="bad.csv")
    with pytest.raises(CohortError, match="does not exist"):
        take(table="gone.csv")


def test_an_existing_cohort_is_never_touched(take, tmp_path):
    before = (take().cohort.folder / "dataset.json").read_bytes()
    with pytest.raises(CohortError, match="not empty"):
        take(seed=5)
    assert (tmp_path / "cohort" / "dataset.json").read_bytes() == before


def test_an_interrupted_intake_leaves_nothing(take, tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(raster.CaseWriter, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        take()
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(take, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(raster.CaseWriter, "add", full)
    with pytest.raises(CohortError, match="cannot be written: No space left on device"):
        take()
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_the_real_brain_tumour_set_is_taken_in(shared_data, tmp_path):
    from fedxai.intake.raster import RasterSettings, take_raster

    folder = shared_data / "brain_tumor_mri"
    names = ["meningioma", "glioma", "pituitary"]
    settings = RasterSettings(class_names=names)
    cohort = take_raster(folder, folder / "cases.csv", tmp_path / "brain", columns=Columns(), settings=settings).cohort
    labels = [case.label for case in _cases(cohort)]
    assert [labels.count(i) for i in range(3)] == [708, 1426, 930]
    assert 580 <= cohort.counts().test <= 640
    assert all(case.region is not None for case in _cases(cohort))
