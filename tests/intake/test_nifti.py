# SPDX-License-Identifier: Apache-2.0
"""From a folder of volumes to a cohort that grows: what stays, what is refused, and what nobody can find again."""

import gzip
import json

import nibabel as nib
import numpy as np
import pytest

from fedxai.errors import CohortError, SettingsError
from fedxai.intake.check import check_cohorts
from fedxai.intake.cohort import Cohort
from fedxai.intake.journal import Journal
from fedxai.intake.nifti import Folders, take_nifti
from fedxai.intake.table import Columns
from fedxai.intake.taking import IntakeSettings
from fedxai.intake.volume_file import Reading
from fedxai.records import SPLITS

NAMES = ("background", "anterior", "posterior")
LPS = np.diag((-1.0, -1.0, 2.0, 1.0))


def voxels(seed):
    return np.random.default_rng(seed).integers(0, 500, (6, 7, 5)).astype(np.int16)


def label_map(seed):
    marked = np.zeros((6, 7, 5), np.uint8)
    marked[1 : 3 + seed % 2, 2:5, 1:3] = 1
    marked[4, 2:5, 1:4] = 2
    return marked


def save(path, values, affine=LPS):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(values, affine).to_filename(path)
    return path


class Export:
    """A hospital's folder: volumes in LPS order, label maps in RAS order, regions, a table."""

    def __init__(self, folder, count=12):
        self.folder, self.out, self.lines = folder, folder / "cohort", ["image,label,group,age"]
        for i in range(count):
            self.add(i)

    def add(self, i, **changes):
        name = f"Doe_Jane_{i:03d}.nii.gz"
        save(self.folder / "images" / name, changes.get("image", voxels(i)))
        turned = np.ascontiguousarray(changes.get("label", label_map(i))[::-1, ::-1])
        save(
            self.folder / "labels" / name,
            turned,
            LPS @ nib.orientations.inv_ornt_aff([[0, -1], [1, -1], [2, 1]], (6, 7, 5)),
        )
        save(self.folder / "regions" / name, (label_map(i) > 0).astype(np.uint8))
        self.lines.append(f"{name},{('healthy', 'ill')[i % 2]},MRN-{i // 2:04d},{30 + i}")

    def take(
        self, *, out=None, reading=Reading(), columns=Columns(), table=False, labels=True, regions=False, **settings
    ):
        (self.folder / "cases.csv").write_text("\n".join(self.lines) + "\n")
        folders = Folders(
            images=self.folder / "images",
            labels=self.folder / "labels" if labels else None,
            regions=self.folder / "regions" if regions else None,
            table=self.folder / "cases.csv" if table else None,
        )
        given = {"class_names": NAMES if labels else (), "key": self.key(), **settings}
        return take_nifti(folders, out or self.out, columns=columns, reading=reading, settings=IntakeSettings(**given))

    def key(self):
        path = self.folder / "site.key"
        path.write_bytes(b"a key that only tests use")
        return path


@pytest.fixture
def export(tmp_path):
    return Export(tmp_path)


def cases(cohort):
    return [case for split in SPLITS for case in cohort.cases(split)]


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_volume_and_label_map_is_kept_in_ras_without_loss(export):
    done = export.take()
    assert (done.taken, done.known, done.refused, done.cohort.task) == (12, 0, [], "segmentation")
    stored = {case.image: case.label for case in cases(done.cohort)}
    given = {voxels(i)[::-1, ::-1].tobytes(): label_map(i)[::-1, ::-1].tobytes() for i in range(12)}
    for image, label in stored.items():
        volume, marked = nib.load(image), nib.load(label)
        assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")
        np.testing.assert_allclose(volume.affine, marked.affine)
        assert volume.header.get_zooms() == (1, 1, 2)
        assert given.pop(np.asanyarray(volume.dataobj).tobytes()) == np.asanyarray(marked.dataobj).tobytes()
    assert given == {}
    assert check_cohorts(export.out).findings == []


def test_a_table_gives_classes_patients_splits_numbers_and_regions(export):
    export.lines = [
        f"{line},{word}"
        for line, word in zip(export.lines, ["set", *["train", "train", "val", "val"] * 2, *["test"] * 4], strict=True)
    ]
    columns = Columns(split="set", tabular=["age"])
    done = export.take(table=True, labels=False, regions=True, columns=columns)
    assert done.cohort.task == "classification"
    assert done.cohort.class_names == ["healthy", "ill"]
    assert done.cohort.counts().model_dump() == {"training": 4, "validation": 4, "test": 4}
    by_age = {case.tabular["age"]: case for case in cases(done.cohort)}
    assert [by_age[30 + i].class_index for i in range(12)] == [i % 2 for i in range(12)]
    assert len({case.group for case in by_age.values()}) == 6
    assert by_age[30].group == by_age[31].group
    region = np.asanyarray(nib.load(by_age[35].region).dataobj)
    np.testing.assert_array_equal(region, (label_map(5) > 0)[::-1, ::-1])


def test_patients_of_a_table_stay_whole_in_a_drawn_split(export):
    done = export.take(table=True, validation=0.2, test=0.2)
    homes = {(case.group, split) for split in SPLITS for case in done.cohort.cases(split)}
    assert len(homes) == 6
    assert all(done.cohort.cases(split) for split in SPLITS)


def test_the_same_source_and_key_give_the_same_bytes_and_another_key_only_other_pseudonyms(export, tmp_path):
    one, two = (export.take(out=tmp_path / name / "cohort").cohort for name in ("a", "b"))
    assert content(one.folder) == content(two.folder)
    (tmp_path / "other.key").write_bytes(b"another key for the tests")
    other = export.take(out=tmp_path / "c" / "cohort", key=tmp_path / "other.key").cohort
    assert {case.group for case in cases(one)}.isdisjoint(case.group for case in cases(other))
    for split in SPLITS:
        assert [c.image.name for c in one.cases(split)] == [c.image.name for c in other.cases(split)]


def test_a_second_run_adds_only_what_is_new(export):
    first = export.take()
    before = {path: path.stat().st_mtime_ns for path in export.out.rglob("*.nii.gz")}
    homes = {case.image.name: split for split in SPLITS for case in first.cohort.cases(split)}
    again = export.take()
    assert (again.taken, again.known) == (0, 12)
    for i in range(12, 22):
        export.add(i)
    grown = export.take()
    assert (grown.taken, grown.known, len(cases(grown.cohort))) == (10, 12, 22)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    now = {case.image.name: split for split in SPLITS for case in grown.cohort.cases(split)}
    assert homes.items() <= now.items()
    shares = {"training": 0.7, "validation": 0.1, "test": 0.2}
    for split, count in grown.cohort.counts().model_dump().items():
        assert abs(count - shares[split] * 22) <= 1


def test_a_new_image_of_a_known_patient_joins_its_split(export):
    first = export.take(table=True, validation=0.2, test=0.2).cohort
    homes = {case.group: split for split in SPLITS for case in first.cases(split)}
    for i in range(12, 24):
        export.add(i)
        export.lines[-1] = export.lines[-1].replace(f"MRN-{i // 2:04d}", f"MRN-{i % 6:04d}")
    grown = export.take(table=True, validation=0.2, test=0.2).cohort
    assert {case.group: split for split in SPLITS for case in grown.cases(split)} == homes


def test_a_run_that_is_cut_off_is_taken_up_by_the_next(export, tmp_path):
    whole = content(export.take(out=tmp_path / "whole" / "cohort").cohort.folder)

    def cut(sequence, description):
        yield from sequence[:5]
        if description.startswith("Taking"):
            raise KeyboardInterrupt
        yield from sequence[5:]

    folders = Folders(images=export.folder / "images", labels=export.folder / "labels")
    settings = IntakeSettings(class_names=NAMES, key=export.key())
    with pytest.raises(KeyboardInterrupt):
        take_nifti(folders, export.out, settings=settings, track=cut)
    assert not (export.out / "dataset.json").exists()
    journal = export.folder / "cohort.intake" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-30])  # the power went while the last line was written
    (export.out / "images" / ".x.nii.gz.1.part").write_bytes(b"half")
    (export.out / "images" / "0123456789abcdef.nii.gz").write_bytes(b"stored, but not written down")
    done = export.take()
    assert (done.taken, done.known) == (8, 4)
    assert content(export.out) == whole


REFUSED = {
    "nan": ({"image": np.where(voxels(50) > 400, np.nan, voxels(50)).astype("f4")}, "not a number"),
    "series": ({"image": np.stack([voxels(50)] * 3, -1)}, "holds 3 volumes"),
    "constant": ({"image": np.full((6, 7, 5), 3, np.int16)}, "one value everywhere"),
    "unknown value": ({"label": label_map(0) * 2}, "has the value 4, and the classes are 0 to 2"),
    "fraction": ({"label": label_map(0).astype("f4") / 3}, "whole numbers"),
    "negative": ({"label": -label_map(0).astype("i2")}, "must be 0 to 255"),
    "repeat": ({"image": voxels(3)}, "another label or region"),
}


@pytest.mark.parametrize(("changes", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_one_bad_case_is_refused_and_the_rest_goes_on(export, changes, reason):
    export.add(12, **changes)
    done = export.take()
    assert done.taken == 12
    (refusal,) = done.refused
    assert reason in refusal.reason
    assert refusal.place == "image 13"
    assert refusal.patient == [*export_pseudonyms(export)][12]
    assert len(content(export.out)) == 1 + 12 + len({case.label for case in cases(done.cohort)})
    report = (export.folder / "cohort.intake/report.md").read_text()
    assert "12 cases were taken in, 0 were there before, 1 were refused" in report
    assert f"| image 13 | {refusal.patient} |" in report


def export_pseudonyms(export):
    from fedxai.intake.site_key import SiteKey

    key = SiteKey.open(export.key())
    return [key.pseudonym(path.name.removesuffix(".nii.gz")) for path in sorted((export.folder / "images").iterdir())]


def test_a_missing_or_misplaced_mask_refuses_its_case(export):
    (export.folder / "labels/Doe_Jane_002.nii.gz").unlink()
    save(export.folder / "labels/Doe_Jane_003.nii.gz", label_map(3), LPS + np.array([[0, 0, 0, 100]] + [[0] * 4] * 3))
    save(export.folder / "labels/Doe_Jane_004.nii.gz", label_map(4)[:2], LPS)
    (export.folder / "labels/Doe_Jane_005.nii.gz").write_bytes(b"damaged")
    save(export.folder / "regions/Doe_Jane_006.nii.gz", np.zeros((6, 7, 5), np.uint8))
    refused = {refusal.place: refusal.reason for refusal in export.take(regions=True).refused}
    assert refused["image 3"] == "It has no label map of its name in --labels."
    assert "label map does not fit its image: It lies nowhere" in refused["image 4"]
    assert "The label map cannot be read" in refused["image 6"] or "no NIfTI file" in refused["image 6"]
    assert "region is empty" in refused["image 7"]
    assert set(refused) == {"image 3", "image 4", "image 6", "image 7"}  # a label map cut to what it marks still fits


def test_masks_may_be_nrrd_with_the_suffix_of_slicer_on_a_finer_grid(export):
    import SimpleITK as sitk

    name = "Doe_Jane_007"
    (export.folder / f"labels/{name}.nii.gz").unlink()
    fine = np.kron(label_map(7), np.ones((2, 2, 2), np.uint8))
    image = sitk.GetImageFromArray(fine.transpose(2, 1, 0))
    image.SetSpacing((0.5, 0.5, 1.0))
    image.SetOrigin((-0.25, -0.25, -0.5))
    sitk.WriteImage(image, str(export.folder / f"labels/{name}.seg.nrrd"))
    done = export.take()
    assert done.refused == []
    by_image = {nib.load(case.image).get_fdata().tobytes(): case.label for case in cases(done.cohort)}
    stored = np.asanyarray(nib.load(by_image[voxels(7)[::-1, ::-1].astype(float).tobytes()]).dataobj)
    np.testing.assert_array_equal(stored, label_map(7)[::-1, ::-1])


def test_options_take_what_is_refused_without_them(export):
    export.add(12, image=np.where(voxels(50) > 400, np.nan, voxels(50)).astype("f4"))
    export.add(13, image=np.stack([voxels(60), voxels(61)], -1))
    assert len(export.take().refused) == 2
    filled = export.take(reading=Reading(nan_as=0))
    assert (filled.taken, filled.known, [refusal.place for refusal in filled.refused]) == (1, 12, ["image 14"])
    framed = export.take(reading=Reading(frame=1))
    assert (framed.taken, framed.known, [refusal.place for refusal in framed.refused]) == (1, 12, ["image 13"])
    assert len(cases(Cohort.open(export.out))) == 14


def test_strict_takes_nothing_and_leaves_what_was_there(export):
    export.take()
    before = content(export.out)
    export.add(12, **REFUSED["constant"][0])
    export.add(13)
    with pytest.raises(CohortError, match=r"^1 of 14 cases are refused and none is taken in; the first is image 13"):
        export.take(strict=True)
    assert content(export.out) == before
    assert "Nothing was taken in" in (export.folder / "cohort.intake/report.md").read_text()


def test_what_people_put_beside_the_files_is_left_alone(export):
    export.take()
    (export.out / "images" / "notes.txt").write_text("looked at on Monday")
    export.add(12)
    assert export.take().taken == 1
    assert (export.out / "images" / "notes.txt").exists()


def test_where_all_are_refused_no_cohort_stays(export):
    for path in (export.folder / "images").iterdir():
        path.write_bytes(b"damaged")
    with pytest.raises(CohortError, match="12 of 12 cases are refused"):
        export.take()
    assert not export.out.exists()


def test_repeats_share_a_patient_and_are_listed_once(export):
    export.add(12, image=voxels(0), label=label_map(0))  # row 0, of another patient
    done = export.take(table=True)
    assert (done.taken, done.known, len(cases(done.cohort))) == (12, 1, 12)
    assert any("1 images came from more than one patient" in note for note in done.notes)
    assert len({case.group for case in cases(done.cohort)}) == 6


def test_unnamed_values_are_named_and_gaps_need_names(export, tmp_path):
    assert export.take(class_names=()).cohort.class_names == ["background", "label 1", "label 2"]
    gaps = Export(tmp_path / "gaps", 0)
    for i in range(6):
        gaps.add(i, label=(label_map(i) > 0).astype(np.uint8) * 255)
    with pytest.raises(CohortError, match=r"must be 0\.\.K-1, got 0, 255; name every value"):
        gaps.take(class_names=())


def test_values_are_renumbered_and_others_refused(export):
    for i, value in enumerate((255, 7)):
        export.add(i, label=(label_map(i) > 1).astype(np.uint8) * value)
    for i in range(2, 12):
        export.add(i, label=np.choose(label_map(i), (0, 7, 255)).astype(np.uint8))
    export.add(12, label=label_map(12))
    done = export.take(reading=Reading(label_values=(255, 7)))
    assert [(refusal.place, "the value 1, which is none of" in refusal.reason) for refusal in done.refused] == [
        ("image 13", True)
    ]
    maps = [np.asanyarray(nib.load(case.label).dataobj) for case in cases(done.cohort)]
    assert sorted((marked == 1).sum() for marked in maps) == [0, *[9] * 11]
    assert sorted({(marked == 2).sum() for marked in maps}) == [0, 9, 12, 18]


def test_a_grown_cohort_keeps_its_classes_and_key(export):
    export.take(labels=False, table=True)
    export.add(12)
    export.lines[-1] = export.lines[-1].replace("healthy", "unheard of")
    (refusal,) = export.take(labels=False, table=True).refused
    assert "is none of --class-name healthy, ill" in refusal.reason
    with pytest.raises(CohortError, match="--class-name must stay healthy, ill"):
        export.take(labels=False, table=True, class_names=("ill", "healthy"))
    with pytest.raises(CohortError, match="made with another --key"):
        export.take(labels=False, table=True, key=None)
    (refusal, *_) = export.take(class_names=()).refused
    assert "cases have a class each, this one has a label map" in refusal.reason


@pytest.mark.slow
def test_workers_give_the_same_bytes(export, tmp_path):
    export.add(12, **REFUSED["nan"][0])
    one = export.take(out=tmp_path / "one" / "cohort")
    two = export.take(out=tmp_path / "two" / "cohort", workers=2)
    assert content(one.cohort.folder) == content(two.cohort.folder)
    assert one.refused == two.refused


def test_no_folder_no_labels_and_strange_targets_are_refused(export, tmp_path):
    settings = IntakeSettings(key=export.key())
    images = export.folder / "images"
    with pytest.raises(CohortError, match="is not a folder"):
        take_nifti(Folders(images=tmp_path / "none", labels=images), export.out, settings=settings)
    with pytest.raises(CohortError, match="give --labels for segmentation, or --table"):
        take_nifti(Folders(images=images), export.out, settings=settings)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CohortError, match="holds no .nii.gz"):
        take_nifti(Folders(images=tmp_path / "empty", labels=images), export.out, settings=settings)
    with pytest.raises(CohortError, match="this intake did not make"):
        export.take(out=images)
    with pytest.raises(CohortError, match="cannot be written"):
        export.take(out=export.key() / "below" / "a file")
    with pytest.raises(SettingsError, match="--workers must be at least 1"):
        IntakeSettings(workers=0)
    with pytest.raises(CohortError, match=r"validation \+ test must be >= 0 and < 1, got 0.5 \+ 0.5"):
        IntakeSettings(validation=0.5, test=0.5)


def test_only_one_intake_writes_a_cohort_at_a_time(export):
    journal = Journal(export.out, key=export.key())
    with pytest.raises(CohortError, match="Another intake is writing"):
        export.take()
    journal.close()
    assert export.take().taken == 12


def test_a_full_disk_ends_the_run_and_what_is_whole_is_kept(export, monkeypatch):
    from fedxai.intake import volume

    written = []

    def fill(path, content):
        if len(written) == 6:
            path.write_bytes(content[:20])
            raise OSError(28, "No space left on device")
        written.append(path)
        path.write_bytes(content)

    with monkeypatch.context() as patch:
        patch.setattr(volume, "write_whole", fill)
        with pytest.raises(CohortError, match="cannot be written: No space left on device"):
            export.take()
    assert not (export.out / "dataset.json").exists()
    kept = [json.loads(line) for line in (export.folder / "cohort.intake/journal.jsonl").read_text().splitlines()]
    named = {f"{kind}s/{record[kind]}" for record in kept for kind in ("image", "label")}
    assert set(content(export.out)) == named
    assert 0 < len(kept) < 12
    assert export.take().known == len(kept)


CANARY = "ZEBRA"


def test_no_name_and_no_text_of_a_header_is_found_in_what_is_stored(tmp_path):
    export = Export(tmp_path / f"{CANARY}-folder")
    for i, path in enumerate(sorted((export.folder / "images").iterdir())):
        image = nib.load(path)
        values = np.asanyarray(image.dataobj)
        for name in ("descrip", "aux_file", "intent_name", "db_name", "data_type"):
            image.header[name] = f"{CANARY}{name}"[: image.header[name].dtype.itemsize]
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", f"{CANARY}-extension".encode()))
        nib.Nifti1Image(values, image.affine, image.header).to_filename(path.with_name(f"{CANARY}-{i:02d}.nii.gz"))
        path.unlink()
        mask = export.folder / "labels" / path.name
        mask.rename(mask.with_name(f"{CANARY}-{i:02d}.nii.gz"))
    export.lines = ["image,group", *(f"{CANARY}-{i:02d}.nii.gz,{CANARY}-patient-{i}" for i in range(12))]
    raw = (export.folder / f"images/{CANARY}-00.nii.gz").read_bytes()
    assert gzip.decompress(raw).count(CANARY.encode()) == 6  # the canary is really there
    out = tmp_path / "out" / "cohort"
    done = export.take(out=out, table=True)
    assert done.taken == 12
    stored = {**content(out), **content(tmp_path / "out" / "cohort.intake")}
    for name, bytes_ in stored.items():
        plain = gzip.decompress(bytes_) if name.endswith(".gz") else bytes_
        assert CANARY.encode() not in plain, name
        assert b"Doe" not in plain
        assert CANARY not in name
    assert CANARY not in " ".join(done.notes)


def test_the_key_is_private_and_lies_outside_the_cohort(export):
    export.take(key=None)
    key = export.folder / "cohort.intake/key"
    assert key.stat().st_mode & 0o077 == 0
    assert len(key.read_bytes()) == 32
    assert not any(key.read_bytes() in bytes_ for bytes_ in content(export.out).values())
    assert Cohort.open(export.out).pseudonyms not in ("", key.read_bytes().hex()[:16])


@pytest.mark.slow
def test_the_hippocampus_set_comes_whole(shared_data, tmp_path):
    source = shared_data / "hippocampus_mri"
    folders = Folders(images=source / "images", labels=source / "labels")
    done = take_nifti(folders, tmp_path / "h", settings=IntakeSettings(class_names=NAMES, workers=2))
    assert (done.taken, done.refused) == (200, [])
    assert done.cohort.counts().model_dump() == {"training": 140, "validation": 20, "test": 40}
    given = sorted(np.asanyarray(nib.load(path).dataobj).astype(int).sum() for path in source.glob("labels/*"))
    stored = sorted(np.asanyarray(nib.load(case.label).dataobj).astype(int).sum() for case in cases(done.cohort))
    assert stored == given
