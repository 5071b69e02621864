# SPDX-License-Identifier: Apache-2.0
"""What is served of a picture is what the intake takes; what is no single picture, or may show a name, is refused."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from pydicom.uid import SecondaryCaptureImageStorage

from fedxai.errors import CohortError
from fedxai.intake.dicom.instance import MODALITIES as KNOWN
from fedxai.intake.dicom.sources import PictureSource, Said
from fedxai.label.grids import read_image
from fedxai.label.series import MODALITIES, PictureSeries, SlicedSeries, drawing_of, read_series
from fedxai.report.dicom_region import Drawing, region_as_seg

PICTURES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("dicom_pictures.py"))))
SERIES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("dicom_series.py"))))


def read(tmp_path, *pictures):
    for number, one in enumerate(pictures):
        one.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    return read_series(tmp_path)


@pytest.mark.parametrize("kind", PICTURES.KINDS)
def test_a_picture_is_byte_for_byte_what_the_intake_writes(kind, tmp_path):
    series = read(tmp_path, PICTURES.picture(kind))
    (tmp_path / "served").mkdir()
    file = series.write(tmp_path / "served")
    said = Said(label="a")
    taken = PictureSource(place="", patient="", path=tmp_path / "0.dcm", said=said).read().image.write_into(tmp_path)
    assert file.read_bytes() == (tmp_path / taken).read_bytes()
    shown = read_image(file)
    assert shown.grid == (PICTURES.COLUMNS, PICTURES.ROWS, 1)
    assert np.array_equal(series.volume().voxels, shown.voxels)
    assert np.array_equal(series.volume().affine, shown.affine)


def test_dark_is_bright_within_the_window_and_beside_an_ultrasound_it_is_black(tmp_path):
    pixels = PICTURES.noise(12)
    for kind in ("DX", "US"):
        (tmp_path / kind).mkdir()
    shown = read(tmp_path / "DX", PICTURES.picture("DX", pixels)).volume().voxels[..., 0].T
    assert (shown[pixels <= 600] == 65535).all()
    assert (shown[pixels >= 3000] == 0).all()
    beside = read(tmp_path / "US", PICTURES.picture("US", np.full((40, 30), 200, np.uint8))).volume().voxels[..., 0].T
    inside = np.zeros((40, 30), bool)
    inside[6:34, 4:25] = True
    assert np.array_equal(beside, np.where(inside, 200, 0))


@pytest.mark.parametrize("kind", PICTURES.KINDS)
def test_a_region_on_a_picture_comes_back_pixel_for_pixel(kind, tmp_path):
    """Also of a picture that says where it lies, as some captures do."""
    series = read(tmp_path, PICTURES.picture(kind, ImagePositionPatient=[1, 2, 3]))
    image, names = series.volume(), {1: "tumour", 2: "œdème"}
    drawing = Drawing(labels=PICTURES.marked(), affine=image.affine, names=names, reader="Müller")
    region_as_seg(drawing, series.headers()).save_as(tmp_path / "seg")
    found = drawing_of(pydicom.dcmread(tmp_path / "seg"), series, image)
    assert np.array_equal(found.labels, drawing.labels)
    assert (found.names, found.reader) == (names, "Müller")


def test_a_series_of_several_pictures_or_of_a_loop_is_refused(tmp_path):
    for name, count in (("two", 2), ("loop", 5)):
        (tmp_path / name).mkdir()
        first = PICTURES.picture("US", NumberOfFrames=count if name == "loop" else 1)
        with pytest.raises(CohortError, match=f"holds {count} pictures"):
            read(tmp_path / name, first, *([PICTURES.picture("US")] if name == "two" else []))


@pytest.mark.parametrize(
    "said",
    [
        {"BurnedInAnnotation": "YES"},
        {"SOPClassUID": SecondaryCaptureImageStorage},
        {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
        {"Modality": "US"},
    ],
)
def test_a_picture_that_may_show_a_name_is_refused(said, tmp_path):
    """The same picture without what makes it suspicious is served: the check alone refuses it."""
    assert isinstance(read(tmp_path, PICTURES.picture("CR")), PictureSeries)
    with pytest.raises(CohortError, match="if they show no name"):
        read(tmp_path, PICTURES.picture("CR", **said))


def test_a_capture_beside_slices_is_no_picture_of_theirs(tmp_path):
    capture = PICTURES.picture("CR", SOPClassUID=SecondaryCaptureImageStorage, Modality="CT", BurnedInAnnotation="NO")
    with pytest.raises(CohortError, match="no slices"):
        read(tmp_path, capture)


def test_slices_are_for_models_of_volumes_and_all_else_for_models_of_pictures(tmp_path):
    assert set(MODALITIES[2]) | set(MODALITIES[3]) == set(KNOWN)
    assert not set(MODALITIES[2]) & set(MODALITIES[3])
    SERIES.write_series(tmp_path, SERIES.noise())
    assert isinstance(read_series(tmp_path), SlicedSeries)


def test_pictures_that_may_show_a_name_come_in_where_somebody_looked(tmp_path):
    PICTURES.picture("US", BurnedInAnnotation=None).save_as(tmp_path / "0.dcm", enforce_file_format=True)
    with pytest.raises(CohortError, match="Modality says ultrasound.*give --allow-burned-in"):
        read_series(tmp_path)
    assert isinstance(read_series(tmp_path, allow_burned_in=True), PictureSeries)


def test_a_file_that_lacks_what_may_be_empty_gets_its_region_too(tmp_path):
    picture = PICTURES.picture("DX")
    for name in ("PatientID", "PatientBirthDate", "StudyDate", "ReferringPhysicianName"):
        picture.pop(name, None)
    series = read(tmp_path, picture)
    labels = PICTURES.marked()
    drawing = Drawing(labels=labels, affine=series.volume().affine, names={1: "a", 2: "b"}, reader="R")
    seg = region_as_seg(drawing, series.headers())
    assert seg.PatientID in (None, "")
    assert np.array_equal(drawing_of(seg, series, series.volume()).labels, labels)
