# SPDX-License-Identifier: Apache-2.0
"""From image files and a table to a cohort: what stays, what goes, what is refused."""

import hashlib
import json
import re

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fedxai.errors import CohortError
from fedxai.intake import picture_case
from fedxai.intake.check import check_cohorts
from fedxai.intake.raster import take_raster
from fedxai.intake.table import Columns
from fedxai.intake.taking import IntakeSettings
from fedxai.records import SPLITS


def _cases(cohort):
    return [case for split in SPLITS for case in cohort.cases(split)]


def _replace(export, old, new):
    table = export / "cases.csv"
    table.write_text(table.read_text().replace(old, new))


def _content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_image_is_kept_once_without_loss(take, export):
    done = take()
    cohort = done.cohort
    assert (done.taken, done.known, done.refused) == (48, 0, [])
    stored = sorted(np.asarray(Image.open(case.image)).tobytes() for case in _cases(cohort))
    given = sorted(np.asarray(Image.open(path)).tobytes() for path in export.glob("images/*"))
    assert stored == given
    assert cohort.class_names == ["glioma", "meningioma", "pituitary"]


def test_files_are_named_by_their_content_and_patients_by_the_sites_key(take, tmp_path):
    cohort = take().cohort
    for case in _cases(cohort):
        for path in (case.image, case.region):
            assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    groups = {case.group for case in _cases(cohort)}
    assert len(groups) == 24
    assert all(re.fullmatch("p[0-9a-f]{12}", group) for group in groups)
    (tmp_path / "other.key").write_bytes(b"another key for the tests")
    other = take(tmp_path / "other", key=tmp_path / "other.key").cohort
    assert groups.isdisjoint(case.group for case in _cases(other))
    for split in SPLITS:  # who is in which split is no matter of the key
        assert [c.image.name for c in cohort.cases(split)] == [c.image.name for c in other.cases(split)]


CANARY = "ZEBRA"


def test_no_name_and_no_text_of_a_file_is_found_in_what_is_stored_or_said(take, export, tmp_path):
    for path in sorted(export.glob("*/*.png")):
        image, text = Image.open(path), PngInfo()
        text.add_text("Comment", f"{CANARY}-text")
        text.add_text("XML:com.adobe.xmp", f"{CANARY}-xmp", zip=False)
        exif = image.getexif()
        exif[0x010E] = f"{CANARY}-exif"
        image.save(path.with_name(f"{CANARY}-{path.name}"), pnginfo=text, exif=exif)
        path.unlink()
    assert (export / f"images/{CANARY}-00.png").read_bytes().count(CANARY.encode()) == 3  # the canary is really there
    (export / f"images/{CANARY}-07.png").write_bytes(b"damaged")
    (export / f"masks/{CANARY}-08.png").unlink()
    for folder in ("images", "masks"):
        _replace(export, f"{folder}/", f"{folder}/{CANARY}-")
    _replace(export, "patient ", f"{CANARY}-patient ")
    done = take(tmp_path / "out" / "cohort", table="cases.csv", key=None)
    assert (done.taken, len(done.refused)) == (46, 2)
    for name, stored in _content(tmp_path / "out").items():
        assert CANARY.encode() not in stored, name
        assert not re.search(rb"cases.csv|images/\d\d\.png", stored)
        assert CANARY not in name
    assert CANARY not in " ".join([*map(str, done.refused), *done.notes])


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


def test_identical_images_of_two_patients_make_them_one_and_are_listed_once(take, export):
    Image.open(export / "images/00.png").save(export / "images/30.png", compress_level=1)
    _replace(export, "images/30.png,masks/30.png", "images/30.png,masks/00.png")
    done = take()
    assert len({case.group for case in _cases(done.cohort)}) == 23
    assert len(_cases(done.cohort)) == 47
    assert any("1 images came from more than one patient" in note for note in done.notes)


def test_an_image_that_comes_again_with_another_mask_is_refused(take, export):
    Image.open(export / "images/00.png").save(export / "images/31.png")
    done = take()
    assert done.taken == 47
    assert [(refusal.place, "another label or region" in refusal.reason) for refusal in done.refused] == [
        ("row 33", True)
    ]


def test_class_names_fix_the_order_even_of_classes_that_are_absent(take):
    names = ["pituitary", "healthy", "glioma", "meningioma"]
    assert take(class_names=names).cohort.class_names == names


def test_integer_labels_can_be_named(take, export):
    for number, name in enumerate(("meningioma", "glioma", "pituitary")):
        _replace(export, name, str(number))
    assert take(class_names=["a", "b", "c"]).cohort.class_names == ["a", "b", "c"]
    reasons = [refusal.reason for refusal in take(export / "other", class_names=["a", "b"]).refused]
    assert reasons == ["Labels go up to 2, but --class-name names 2."] * 16


def test_integer_labels_with_a_gap_are_refused(take, export):
    for number, name in ((1, "meningioma"), (2, "glioma"), (4, "pituitary")):
        _replace(export, name, str(number))
    with pytest.raises(CohortError, match=r"must be 0\.\.K-1, got 1, 2, 4"):
        take()
    _replace(export, ",4,", ",0,")
    assert take().taken == 48  # what was wrong is forgotten


def test_the_tables_own_split_is_kept(take, export):
    lines = (export / "cases.csv").read_text().splitlines()
    words = ["train", "val", "Test"]
    own = [f"{line},{words[i // 2 % 3]}" for i, line in enumerate(lines[1:])]
    (export / "cases.csv").write_text("\n".join([lines[0] + ",fold", *own]))
    assert take(columns=Columns(split="fold")).cohort.counts().model_dump() == dict.fromkeys(SPLITS, 16)
    own[1] = own[1].replace("train", "test")
    (export / "cases.csv").write_text("\n".join([lines[0] + ",fold", *own]))
    with pytest.raises(CohortError, match="Patient p[0-9a-f]{12} would be in training and in test; correct the split"):
        take(export / "other", columns=Columns(split="fold"))


def test_semicolons_and_a_byte_order_mark_are_read(take, export):
    table = export / "cases.csv"
    table.write_text("\ufeff" + table.read_text().replace(",", ";"), encoding="utf-8")
    assert sum(take().cohort.counts().model_dump().values()) == 48


def test_without_a_group_column_the_person_is_told(take, export):
    _replace(export, "group", "someone")
    done = take()
    assert len({case.group for case in _cases(done.cohort)}) == 48
    assert "every image counts as a patient" in done.notes[0]
    table = export / "cases.csv"
    header, first, *rest = table.read_text().splitlines()
    table.write_text("\n".join([header, *reversed(rest), first]))
    assert (take().known, take().taken) == (48, 0)  # a line that moved is no other patient


def _save(path, *, colour=True):
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    pixels[..., 1:] = pixels[..., 1:] if colour else pixels[..., :1]
    Image.fromarray(pixels).save(path)


def _modes(cohort):
    return {Image.open(case.image).mode for case in _cases(cohort)}


def test_the_tables_spacing_is_kept(take):
    cohort = take(columns=Columns(tabular=["age"], spacing="age")).cohort
    for case in _cases(cohort):
        assert case.spacing == ((case.tabular["age"],) * 2 if case.tabular else None)


def test_colour_is_kept_for_all_or_none(take, export, tmp_path):
    _save(export / "images/05.png")
    _save(export / "images/06.png", colour=False)
    cohort = take().cohort
    assert _modes(cohort) == {"RGB"}
    assert not [finding for finding in check_cohorts(cohort.folder).findings if finding.rule == "channels"]
    assert _modes(take(tmp_path / "gray", gray=True).cohort) == {"L"}


def test_gray_in_three_channels_makes_no_colour(take, export):
    _save(export / "images/05.png", colour=False)
    assert _modes(take().cohort) == {"L"}


def test_a_cohort_that_grows_stays_gray_or_coloured(take, export, tmp_path):
    def add(name, colour):
        _save(export / name, colour=colour)
        with (export / "cases.csv").open("a") as table:
            table.write(f"{name},masks/00.png,glioma,somebody else,\n")

    take()
    add("images/48.png", True)
    (refusal,) = take().refused
    assert (refusal.place, "--gray takes it without" in refusal.reason) == ("row 50", True)
    assert (take(gray=True).taken, _modes(take(gray=True).cohort)) == (1, {"L"})
    coloured = tmp_path / "coloured"
    take(coloured)
    add("images/49.png", False)
    assert _modes(take(coloured).cohort) == {"RGB"}
    with pytest.raises(CohortError, match="--gray cannot be"):
        take(coloured, gray=True)


def test_a_second_run_adds_only_what_is_new(take, export, tmp_path):
    table = (export / "cases.csv").read_text().splitlines()
    (export / "cases.csv").write_text("\n".join(table[:37]))
    first = take()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cohort").rglob("*.png")}
    homes = {case.image.name: split for split in SPLITS for case in first.cohort.cases(split)}
    (export / "cases.csv").write_text("\n".join(table))
    grown = take()
    assert (first.taken, grown.taken, grown.known, len(_cases(grown.cohort))) == (36, 12, 36, 48)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert homes.items() <= {c.image.name: split for split in SPLITS for c in grown.cohort.cases(split)}.items()
    assert "12 cases were taken in, 36 were there before" in (tmp_path / "cohort.intake/report.md").read_text()
    assert (tmp_path / "cohort.intake/contact_sheet.png").exists()


def test_a_run_that_is_cut_off_is_taken_up_by_the_next(take, tmp_path):
    whole = _content(take(tmp_path / "whole" / "cohort").cohort.folder)

    def cut(sequence, description):
        yield from sequence[:20]
        if description.startswith("Taking"):
            raise KeyboardInterrupt
        yield from sequence[20:]

    with pytest.raises(KeyboardInterrupt):
        take(track=cut)
    assert not (tmp_path / "cohort" / "dataset.json").exists()
    (tmp_path / "cohort/images/0123456789abcdef.png").write_bytes(b"stored, but not written down")
    done = take()
    assert (done.taken, done.known) == (28, 20)
    assert _content(tmp_path / "cohort") == whole


def test_a_full_disk_is_one_sentence_and_leaves_only_what_is_whole(take, tmp_path, monkeypatch):
    written = []

    def fill(path, content):
        if len(written) == 15:
            path.with_name(f".{path.name}.1.part").write_bytes(content[:20])
            raise OSError(28, "No space left on device")
        written.append(path)
        path.write_bytes(content)

    with monkeypatch.context() as patch:
        patch.setattr(picture_case, "write_whole", fill)
        with pytest.raises(CohortError, match="cannot be written: No space left on device"):
            take()
    assert all(Image.open(path).size == (64, 64) for path in (tmp_path / "cohort").rglob("*") if path.is_file())
    assert take().known == 7  # two files each


def _remove(path):
    path.unlink()


def _truncate(path):
    path.write_bytes(path.read_bytes()[:200])


def _shrink(path):
    Image.open(path).resize((32, 32)).save(path)


def _blank(path):
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(path)


HARMED = [
    ("images/03.png", _remove, "The image does not exist"),
    ("images/03.png", _truncate, "The image cannot be read"),
    ("images/03.png", _blank, "The picture has one value everywhere"),
    ("masks/03.png", _remove, "The mask does not exist"),
    ("masks/03.png", _shrink, "The mask is (32, 32) and its image (64, 64)"),
    ("masks/03.png", _blank, "The region is empty"),
]


@pytest.mark.parametrize(("file", "harm", "reason"), HARMED)
def test_a_bad_file_is_refused_by_its_row_and_the_rest_goes_on(take, export, tmp_path, file, harm, reason):
    harm(export / file)
    done = take()
    assert done.taken == 47
    (refusal,) = done.refused
    assert refusal.place == "row 5"
    assert refusal.reason.startswith(reason)
    assert f"| row 5 | {refusal.patient} |" in (tmp_path / "cohort.intake/report.md").read_text()
    assert len(_content(tmp_path / "cohort")) == 1 + len({p for c in _cases(done.cohort) for p in c.files})


def test_a_path_that_cannot_be_is_refused_like_a_missing_file(take, export):
    _replace(export, "images/03.png", "images/\0.png")
    _replace(export, "images/04.png", "images")
    done = take()
    assert (done.taken, [refusal.place for refusal in done.refused]) == (46, ["row 5", "row 6"])


def test_strict_takes_nothing_and_leaves_what_was_there(take, export, tmp_path):
    _truncate(export / "images/03.png")
    with pytest.raises(CohortError, match="^1 of 48 cases are refused and none is taken in; the first is row 5"):
        take(strict=True)
    assert not (tmp_path / "cohort").exists()


@pytest.mark.slow
def test_workers_give_the_same_bytes(take, export, tmp_path):
    _truncate(export / "images/03.png")
    one, two = (take(tmp_path / name / "cohort", workers=i) for i, name in ((1, "one"), (2, "two")))
    assert _content(one.cohort.folder) == _content(two.cohort.folder)
    assert one.refused == two.refused


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
        (Columns(spacing="group"), "Row 2: --spacing-column must hold lengths above 0 mm"),
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


def test_a_folder_that_this_intake_did_not_make_is_never_touched(take, tmp_path):
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "thesis.tex").write_text("years of work")
    with pytest.raises(CohortError, match="holds something that this intake did not make"):
        take()
    assert list(_content(tmp_path / "cohort")) == ["thesis.tex"]


def test_the_real_brain_tumour_set_is_taken_in(shared_data, tmp_path):
    folder = shared_data / "brain_tumor_mri"
    names = ["meningioma", "glioma", "pituitary"]
    settings = IntakeSettings(class_names=names)
    cohort = take_raster(folder, folder / "cases.csv", tmp_path / "brain", settings=settings).cohort
    labels = [case.label for case in _cases(cohort)]
    assert [labels.count(i) for i in range(3)] == [708, 1426, 930]
    assert 580 <= cohort.counts().test <= 640
    assert all(case.region is not None for case in _cases(cohort))
