# SPDX-License-Identifier: Apache-2.0
"""What FedXAI-Med stored in the archive comes back with an export: saliency is refused, a reader's region is taken."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import SecondaryCaptureImageStorage

from fedxai.intake.dicom.instance import MADE_HERE, read_instance
from fedxai.intake.dicom.plan import Choice
from fedxai.intake.dicom.take import DicomSettings, take_dicom
from fedxai.intake.stored import read_values
from fedxai.intake.table import Columns
from fedxai.intake.taking import IntakeSettings
from fedxai.report.dicom_capture import saliency_as_captures
from fedxai.report.dicom_region import Drawing, region_as_seg
from fedxai.report.dicom_saliency import SaliencyMap, saliency_as_map

SERIES = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "label" / "dicom_series.py")))


@pytest.fixture
def stored(tmp_path):
    """Two patients' series, and on the first one what our writers make: captures, a parametric map, a region."""
    for number in range(2):
        files = SERIES.write_series(tmp_path / "export" / f"P{number}", SERIES.noise() + number, patient=f"P{number}")
    files = sorted((tmp_path / "export" / "P0").iterdir())
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    values = np.random.default_rng(0).normal(size=(20, 24, 9))
    affine = SERIES.affine()
    saliency = SaliencyMap(values=values, affine=affine, method="saliency", target="glioma", model="0f" * 32)
    labels = (values > 2).astype(np.uint8)
    drawing = Drawing(labels=labels, affine=affine, names={1: "lesion"}, reader="Dr A")
    made = {
        "capture": saliency_as_captures(saliency, SERIES.noise().transpose(2, 1, 0), affine, headers),
        "map": [saliency_as_map(saliency, headers)],
        "region": [region_as_seg(drawing, headers)],
    }
    for kind, objects in made.items():
        for number, one in enumerate(objects):
            one.save_as(tmp_path / "export" / f"{kind}{number}.dcm", enforce_file_format=True)
    return SimpleNamespace(folder=tmp_path / "export", out=tmp_path / "cohort", drawn=int(labels.sum()))


def taken(stored, rows=("P0,a", "P1,b"), **choice):
    table = stored.folder.parent / "table.csv"
    table.write_text("\n".join(["patient,label", *rows]))
    settings = DicomSettings(choice=Choice(keyed_by="patient", **choice), intake=IntakeSettings(validation=0, test=0))
    return take_dicom(stored.folder, table, stored.out, settings=settings, columns=Columns(image="patient"))


def test_saliency_is_refused_with_its_own_reason_and_asks_for_no_choice_of_modality(stored):
    done = taken(stored)
    reasons = sorted(refusal.reason for refusal in done.refused)
    assert reasons == [f"1 of 1 files: {MADE_HERE}", f"9 of 9 files: {MADE_HERE}"]
    assert (done.taken, done.cohort.modality) == (2, "MR")
    report = (stored.out.with_name("cohort.intake") / "report.md").read_text()
    assert f"| 1 | 9 of 9 files: {MADE_HERE} |" in report


def test_what_a_reader_drew_at_our_desk_is_the_region(stored):
    regions = [case.region for case in taken(stored).cohort.cases("training") if case.region]
    (region,) = regions
    assert int(read_values(region, what="region")[0].sum()) == stored.drawn


def test_beside_pictures_of_the_same_modality_only_ours_is_refused(stored, writer_in):
    writer = writer_in(stored.folder)
    pixels = np.random.default_rng(1).integers(0, 255, (12, 10, 3)).astype(np.uint8)
    ds = writer.base(pixels, modality="OT", SOPClassUID=SecondaryCaptureImageStorage, BurnedInAnnotation="NO")
    ds.PatientID = "P0"
    writer.save(ds)
    done = taken(stored, rows=("P0,a", "P1,b"), modality="OT")
    assert sorted(refusal.reason for refusal in done.refused)[1] == f"9 of 9 files: {MADE_HERE}"
    (case,) = done.cohort.cases("training")
    assert np.array_equal(np.asarray(Image.open(case.image)), pixels)


def test_what_the_table_does_not_name_is_not_spoken_of(stored):
    assert taken(stored, rows=("P1,b",)).refused == []


@pytest.mark.parametrize(("maker", "kind"), [("FedXAI-Med", "made here"), ("another", "picture"), (None, "picture")])
def test_the_maker_decides(stored, maker, kind):
    path = stored.folder / "capture0.dcm"
    capture = pydicom.dcmread(path)
    capture.Manufacturer = maker
    capture.save_as(path)
    assert read_instance(path, allow_burned_in=False).kind == kind
