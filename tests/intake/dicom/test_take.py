# SPDX-License-Identifier: Apache-2.0
"""From an export and a table to a cohort: what is taken, what is refused and said, what a second run does."""

import os
import re
import stat
import zipfile

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    RawDataStorage,
    SecondaryCaptureImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from fedxai.errors import CohortError, SettingsError
from fedxai.intake.cohort import Cohort
from fedxai.intake.dicom import numbers
from fedxai.intake.dicom import take as take_module
from fedxai.intake.dicom.instance import read_instance
from fedxai.intake.dicom.plan import Choice
from fedxai.intake.dicom.reading import NotDicom
from fedxai.intake.dicom.take import DicomSettings, take_dicom
from fedxai.intake.stored import read_values
from fedxai.intake.table import Columns
from fedxai.intake.taking import IntakeSettings
from fedxai.records import SPLITS

PSEUDONYM = re.compile(r"^study s[0-9a-f]{12}, series r[0-9a-f]{12}")


@pytest.fixture
def phantom():
    """Four small slices: many studies are written here."""
    return np.random.default_rng(0).integers(-200, 200, (4, 12, 10)).astype(np.int16)


@pytest.fixture
def ct(writer, phantom):
    """Six patients of one CT study each."""
    for number in range(6):
        writer.series(phantom + number, patient=f"P{number}", study=number)
    return writer


@pytest.fixture
def take(writer, tmp_path):
    def run(*, table=None, out="cohort", keyed_by="patient", rows=None, allow_burned_in=False, intake=None, **choice):
        if table is None:
            rows = rows or [f"P{number},{('well', 'sick')[number % 2]}" for number in range(6)]
            table = "\n".join([f"{keyed_by},label", *rows])
        (tmp_path / "table.csv").write_text(table)
        columns = Columns(image=keyed_by, tabular=["age"] if "age" in table else ())
        settings = DicomSettings(
            choice=Choice(keyed_by=keyed_by, masks=tmp_path, **choice),
            intake=IntakeSettings(**{"validation": 0, **(intake or {})}),
            allow_burned_in=allow_burned_in,
        )
        return take_dicom(writer.folder, tmp_path / "table.csv", tmp_path / out, settings=settings, columns=columns)

    return run


def _cases(cohort):
    return [case for split in SPLITS for case in cohort.cases(split)]


def test_an_export_becomes_a_cohort_of_volumes(ct, take, phantom):
    taken = take()
    assert (taken.taken, taken.known, taken.refused) == (6, 0, [])
    assert taken.cohort.modality == "CT"
    expected = {int((phantom + number).astype(np.int64).sum()): number for number in range(6)}
    for case in _cases(taken.cohort):
        voxels, affine = read_values(case.image, what="image")
        number = expected[int(voxels.astype(np.int64).sum())]
        assert taken.cohort.class_names[case.label] == ("well", "sick")[number % 2]
        assert np.array_equal(voxels, (phantom + number).transpose(2, 1, 0)[::-1, ::-1])
        np.testing.assert_allclose(np.diag(affine)[:3], (0.7, 0.8, 2.5), atol=1e-6)


@pytest.mark.parametrize("keyed_by", ["study", "series", "patient", "accession"])
def test_the_table_may_be_keyed_by_any_of_four(writer, take, phantom, uid, keyed_by):
    for number in range(3):
        writer.series(phantom + number, patient=f"P{number}", study=number, AccessionNumber=f"A{number}")
    keys = {
        "study": lambda n: uid("study", n),
        "series": lambda n: uid("study", n, "1").replace(uid("study", n, "1"), uid("series", n, "1")),
        "patient": lambda n: f"P{n}",
        "accession": lambda n: f"A{n}",
    }
    taken = take(keyed_by=keyed_by, rows=[f"{keys[keyed_by](n)},{'ab'[n % 2]}" for n in range(3)])
    assert taken.taken == 3


def test_a_second_run_adds_only_what_is_new(ct, take, phantom, tmp_path):
    first = take()
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cohort" / "images").iterdir()}
    homes = {case.image.name: split for split in SPLITS for case in first.cohort.cases(split)}
    ct.series(phantom + 50, patient="P9", study=9)
    again = take(rows=[f"P{number},{('well', 'sick')[number % 2]}" for number in (0, 1, 2, 3, 4, 5, 9)])
    assert (again.taken, again.known) == (1, 6)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cohort" / "images").iterdir()}
    assert before.items() <= after.items()
    assert len(after) == 7
    assert homes.items() <= {case.image.name: split for split in SPLITS for case in again.cohort.cases(split)}.items()


def test_a_refused_study_does_not_stop_the_rest(ct, take, phantom):
    ct.series(phantom, patient="P7", study=7, order=[0, 1, 3])
    broken = ct.slice(phantom[0], (0, 0, 0), patient="P8", study=8)
    broken.write_bytes(broken.read_bytes()[:-200])
    rows = [f"P{number},{('well', 'sick')[number % 2]}" for number in (*range(6), 7, 8)]
    taken = take(rows=rows)
    assert taken.taken == 6
    reasons = {refusal.reason.split(" ")[0]: refusal for refusal in taken.refused}
    assert set(reasons) == {"ImagePositionPatient", "PixelData"}
    for refusal in taken.refused:
        assert PSEUDONYM.match(refusal.place)
        assert refusal.reason.count(". ") == 0
        assert re.match("p[0-9a-f]{12}$", refusal.patient)


def test_a_damaged_header_refuses_the_file_and_says_so(ct, take):
    (ct.folder / "cut").write_bytes((ct.folder / "f007919").read_bytes()[:300])
    taken = take()
    assert taken.taken == 6
    (refusal,) = taken.refused
    assert (refusal.place, refusal.patient) == ("1 files of the export", "unknown")


def test_the_report_holds_all_that_was_said_and_strict_refuses_what_nobody_can_read(ct, take, phantom, tmp_path):
    with zipfile.ZipFile(ct.folder / "evil.zip", "w") as opened:
        opened.writestr("../evil", "x")
    (ct.folder / "cut").write_bytes((ct.folder / "f007919").read_bytes()[:300])
    ct.series(phantom, modality="PT", patient="P0", study=0, series="pet")
    rows = [f"P{number},{'ab'[number % 2]}" for number in (*range(6), 9)]
    taken = take(rows=rows, modality="CT")
    report = (tmp_path / "cohort.intake" / "report.md").read_text()
    assert len(taken.refused) == 2
    for said in (*taken.notes, *(refusal.reason for refusal in taken.refused)):
        assert said in report
    for said in ("leads out of its folder", "4 images of other modalities", "1 rows of the table match nothing"):
        assert said in report
    with pytest.raises(CohortError, match="2 of 8 cases are refused and none is taken in"):
        take(rows=rows, modality="CT", out="strict", intake={"strict": True})
    report = (tmp_path / "strict.intake" / "report.md").read_text()
    assert "Nothing was taken in." in report
    assert "1 rows of the table match nothing" in report


_WITH_IT = [f"P{number},{'ab'[number % 2]}" for number in (*range(6), 7)]


def _study(ct, phantom):
    """The files of one more study, of four slices from below."""
    return [ct.slice(phantom[k], (0, 0, 2.5 * k), patient="P7", study=7) for k in range(4)]


def _cut_before(path, keyword, into=0):
    """Cut a file where an attribute begins, or so many bytes into its value."""
    place = pydicom.dcmread(path).get_item(keyword).value_tell
    path.write_bytes(path.read_bytes()[: place + into if into else place - 8])


@pytest.mark.parametrize(("keyword", "into"), [("ImagePositionPatient", 5), ("Rows", 0), ("Columns", 1)])
def test_a_slice_that_is_cut_in_its_header_refuses_its_series(ct, take, phantom, keyword, into):
    """The topmost one leaves no gap: without it the series would be a smaller volume."""
    *_, last = _study(ct, phantom)
    _cut_before(last, keyword, into)
    taken = take(rows=_WITH_IT)
    assert taken.taken == 6
    assert [refusal.reason for refusal in taken.refused] == [
        "1 of 4 files: Rows or Columns are missing: the file is cut short or damaged; export the study again."
    ]


def test_a_study_whose_slices_are_all_cut_is_refused_and_not_absent(ct, take, phantom):
    for path in _study(ct, phantom):
        _cut_before(path, "Rows")
    taken = take(rows=_WITH_IT)
    assert taken.taken == 6
    assert taken.refused[0].reason.startswith("4 of 4 files: Rows or Columns are missing")


@pytest.mark.parametrize(("keyword", "into"), [("SeriesInstanceUID", 9), ("StudyInstanceUID", 9)])
def test_a_slice_cut_before_its_series_refuses_all_of_its_patient(ct, take, phantom, keyword, into):
    *_, last = _study(ct, phantom)
    _cut_before(last, keyword, into)
    taken = take(rows=_WITH_IT)
    assert taken.taken == 6
    reasons = [refusal.reason for refusal in taken.refused]
    assert "3 of 3 files: An image of the patient is cut short before it says of which series it is" in reasons[0]


def test_a_file_cut_before_its_class_is_damaged_and_not_no_dicom(writer, phantom):
    path = writer.slice(phantom[0], (0, 0, 0))
    _cut_before(path, "SOPClassUID")
    with pytest.raises(CohortError, match="SOPClassUID is missing") as caught:
        read_instance(path, allow_burned_in=False)
    assert not isinstance(caught.value, NotDicom)


def test_raw_data_of_a_scanner_is_no_damaged_image(writer, phantom):
    path = writer.slice(phantom[0], (0, 0, 0), modality="MR", SOPClassUID=RawDataStorage, Rows=None, PixelData=None)
    instance = read_instance(path, allow_burned_in=False)
    assert (instance.kind, instance.reason) == ("other", "")


def test_a_series_with_one_bad_slice_is_refused_whole(writer, take, phantom):
    writer.series(phantom, patient="P0", study=0)
    writer.series(phantom, patient="P1", study=1, per_slice=lambda k: {"PixelSpacing": None} if k == 3 else {})
    writer.series(phantom + 1, patient="P2", study=2)
    taken = take()
    assert taken.taken == 2
    assert taken.refused[0].reason.startswith("1 of 4 files: PixelSpacing is missing")


def test_localizers_reports_and_strangers_are_left_out_and_counted(ct, take, phantom):
    ct.slice(
        phantom[0], (0, 0, 0), patient="P0", study=0, series="scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    ct.series(phantom, patient="P77", study=77)
    notes = " ".join(take(rows=[f"P{n},{'ab'[n % 2]}" for n in (*range(6), 55)]).notes)
    assert "1 localizers were left out" in notes
    assert "4 images belong to nothing that the table names" in notes
    assert "1 rows of the table match nothing" in notes


def test_several_modalities_ask_for_a_choice(ct, take, phantom):
    for number in range(6):
        ct.series(phantom + number, modality="PT", patient=f"P{number}", study=number, series="pet")
    with pytest.raises(CohortError, match=r"CT \(24 files\), PT \(24 files\); got none"):
        take()
    assert take(modality="pt").cohort.modality == "PT"


def test_pictures_become_pngs_as_displayed(writer, take, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4095, (4, 12, 10)).astype(np.uint16)
    for number in range(4):
        ds = writer.base(
            pixels[number],
            modality="DX",
            SOPClassUID=DigitalXRayImageStorageForPresentation,
            patient=f"P{number}",
            BitsStored=12,
            HighBit=11,
            PhotometricInterpretation="MONOCHROME1",
            ImagerPixelSpacing=[0.2, 0.1] if number else None,
        )
        ds.PatientID = f"P{number}"
        ds.StudyInstanceUID = ds.SeriesInstanceUID = f"1.2.{number}"
        writer.save(ds)
    cohort = take(rows=[f"P{n},{'ab'[n % 2]}" for n in range(4)]).cohort
    stored = sorted(np.asarray(Image.open(case.image)).tobytes() for case in _cases(cohort))
    expected = np.rint((1 - pixels / 4095) * 65535).astype(np.uint16)
    assert stored == sorted(picture.tobytes() for picture in expected)
    spacings = {np.asarray(Image.open(case.image)).tobytes(): case.spacing for case in _cases(cohort)}
    assert [spacings[picture.tobytes()] for picture in expected] == [None, *[(0.2, 0.1)] * 3]


def _loop(writer, patient="P0", **attributes):
    loop = np.random.default_rng(1).integers(1, 255, (20, 16, 12)).astype(np.uint8)
    ds = writer.base(loop, modality="US", SOPClassUID=UltrasoundMultiFrameImageStorage, **attributes)
    ds.PatientID = patient
    ds.StudyInstanceUID = ds.SeriesInstanceUID = f"1.2.{int(patient[1:])}"
    writer.save(ds)
    return loop


def test_a_loop_gives_evenly_chosen_frames_of_one_patient(writer, take):
    loop = _loop(writer, BurnedInAnnotation="NO")
    cohort = take(frames=5, intake={"test": 0}).cohort
    stored = {np.asarray(Image.open(case.image)).tobytes() for case in _cases(cohort)}
    assert stored == {loop[k].tobytes() for k in (0, 5, 10, 14, 19)}


@pytest.mark.parametrize("attributes", [{}, {"BurnedInAnnotation": "YES"}])
def test_an_ultrasound_that_may_show_a_name_is_refused_unless_allowed(writer, take, attributes):
    _loop(writer, **attributes)
    with pytest.raises(CohortError, match=r"(Modality|BurnedInAnnotation) says .*--allow-burned-in"):
        take(intake={"test": 0})
    assert take(allow_burned_in=True, intake={"test": 0}).taken == 8


def test_what_lies_beside_an_ultrasound_is_blacked_out(writer, take):
    from pydicom.dataset import Dataset

    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 2, 4
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 9, 13
    loop = _loop(writer, SequenceOfUltrasoundRegions=[region])
    cohort = take(allow_burned_in=True, frames=1, intake={"test": 0}).cohort
    (case,) = _cases(cohort)
    picture = np.asarray(Image.open(case.image))
    assert np.array_equal(picture[4:14, 2:10], loop[10, 4:14, 2:10])
    assert picture.sum() == picture[4:14, 2:10].sum()


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"BurnedInAnnotation": "YES"}, "BurnedInAnnotation"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "SOPClassUID"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "ImageType"),
        ({"ConversionType": "DF"}, "ConversionType"),
    ],
)
def test_text_that_may_be_in_a_slice_refuses_it(ct, take, phantom, attributes, said):
    ct.series(phantom, patient="P7", study=7, **attributes)
    taken = take(rows=[f"P{n},{'ab'[n % 2]}" for n in (*range(6), 7)])
    assert taken.taken == 6
    if said != "SOPClassUID":  # a capture beside slices is left out before it is asked about
        assert said in taken.refused[0].reason
    else:
        assert "4 pictures beside slices (captures) were left out." in taken.notes


def test_an_empty_patient_id_joins_nobody(writer, take, phantom, uid):
    for number in range(4):
        writer.series(phantom + number, patient="", study=number)
    taken = take(keyed_by="study", rows=[f"{uid('study', n)},{'ab'[n % 2]}" for n in range(4)])
    assert len({case.group for case in _cases(taken.cohort)}) == 4


def test_two_studies_of_one_patient_share_a_pseudonym_and_a_split(writer, take, phantom):
    for number in range(8):
        writer.series(phantom + number, patient=f"P{number // 2}", study=number)
    cohort = take(intake={"test": 0.25}).cohort
    groups = {split: {case.group for case in cohort.cases(split)} for split in SPLITS}
    assert len(groups["training"] | groups["test"]) == 4
    assert not groups["training"] & groups["test"]


def test_the_key_stays_outside_and_only_its_owner_reads_it(ct, take, tmp_path):
    taken = take()
    key = tmp_path / "cohort.intake" / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert not (tmp_path / "cohort" / "key").exists()
    groups = {case.group for case in _cases(taken.cohort)}
    assert groups == {case.group for case in _cases(take(out="two", intake={"key": key}).cohort)}
    assert not groups & {case.group for case in _cases(take(out="three").cohort)}


def test_numbers_of_the_table_stay_with_their_case(ct, take):
    taken = take(table="\n".join(["patient,label,age", *(f"P{n},{'ab'[n % 2]},{30 + n}" for n in range(6))]))
    assert sorted(case.tabular["age"] for case in _cases(taken.cohort)) == [30, 31, 32, 33, 34, 35]


@pytest.mark.slow
def test_workers_give_the_same_cohort(ct, take, tmp_path):
    key = {"key": tmp_path / "key"}
    one, two = take(intake=key).cohort, take(out="two", intake={"workers": 2, **key}).cohort
    assert [c.image.name for c in _cases(one)] == [c.image.name for c in _cases(two)]


@pytest.mark.parametrize(
    ("rows", "choice", "said"),
    [
        (["P0,a", "P0,b"], {}, "Row 3 has the same key as row 2"),
        (["X0,a"], {}, "No PatientID of the export is in the table"),
        (["P0,a"], {"modality": "ZZ"}, r"--modality must be one of .*CT .*got another"),
    ],
)
def test_a_table_or_choice_that_does_not_fit_is_said(ct, take, tmp_path, rows, choice, said):
    with pytest.raises(CohortError, match=said):
        take(rows=rows, **choice)
    assert not (tmp_path / "cohort").exists()
    assert not (tmp_path / "cohort.intake").exists()


def test_settings_are_checked_when_made():
    with pytest.raises(SettingsError, match="--keyed-by must be one of study, series, patient, accession"):
        Choice(keyed_by="name")
    with pytest.raises(SettingsError, match="--frames must be at least 1"):
        Choice(frames=0)
    with pytest.raises(SettingsError, match="--segmentation needs --class-name"):
        DicomSettings(segmentation=True)


def test_a_place_that_takes_no_folder_is_one_sentence(ct, take):
    with pytest.raises(CohortError, match="cannot be"):
        take(out="table.csv/cohort")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_disk_is_one_sentence(ct, take, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(CohortError, match="cannot be"):
        take(out="locked/cohort")


def test_a_full_disk_is_one_sentence_and_the_next_run_goes_on(ct, take, tmp_path, monkeypatch):
    from fedxai.intake.volume import Volume

    honest, left = Volume.write_into, iter((True, True))

    def full(volume, folder):
        if next(left, False):
            return honest(volume, folder)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Volume, "write_into", full)
    with pytest.raises(CohortError, match="cannot be written: No space left on device"):
        take()
    assert not list(tmp_path.rglob("*.part"))
    monkeypatch.undo()
    taken = take()
    assert taken.taken + taken.known == 6
    assert len(_cases(Cohort.open(tmp_path / "cohort"))) == 6


def test_a_folder_of_many_files_is_read_once_a_header(ct, take, monkeypatch):
    """What a folder of 100,000 files costs is one header a file: counted, not waited for."""
    headers, pixels = [], []
    header, image = take_module.read_instance, numbers.read_image
    monkeypatch.setattr(take_module, "read_instance", lambda path, **k: headers.append(path) or header(path, **k))
    monkeypatch.setattr(numbers, "read_image", lambda path: pixels.append(path) or image(path))
    take()
    assert len(headers) == len(set(headers)) == 24
    assert len(pixels) == len(set(pixels)) == 24
