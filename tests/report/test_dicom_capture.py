# SPDX-License-Identifier: Apache-2.0
"""A saliency map becomes pictures for every viewer: its colours over its slice, at its place, in its study."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from fedxai.errors import CohortError
from fedxai.report.dicom_capture import saliency_as_captures
from fedxai.report.dicom_saliency import SaliencyMap
from fedxai.report.overlay import TILE, overlay

PICTURES = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "label" / "dicom_pictures.py")))
SERIES = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "label" / "dicom_series.py")))
MODEL = "0123456789abcdef" * 4
IMAGE = SERIES.noise().transpose(2, 1, 0)  # (columns, rows, slices)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return SERIES.write_series(tmp_path_factory.mktemp("series"), SERIES.noise())


@pytest.fixture(scope="module")
def headers(files):
    return [pydicom.dcmread(file, stop_before_pixels=True) for file in files]


def told(**change):
    """A map that is 0 but for one voxel."""
    values = np.zeros(IMAGE.shape, np.float32)
    values[4, 7, 2] = -3.0
    given = {"values": values, "affine": SERIES.affine(), "method": "gradient_x_input", "target": "glioma"}
    return SaliencyMap(**{**given, "model": MODEL, **change})


def captured(headers, saliency=None):
    return saliency_as_captures(saliency or told(), IMAGE, SERIES.affine(), headers)


def test_a_slice_is_grey_but_where_the_map_is_for_another_reader(files, headers, tmp_path):
    """SimpleITK reads both series by position: pixel on pixel, each at the same place in mm."""
    for capture in captured(headers):
        capture.save_as(tmp_path / f"{capture.InstanceNumber}.dcm")
    stored, source = (read_series(folder) for folder in (tmp_path, files[0].parent))
    assert stored.GetSize() == source.GetSize()
    for corner in ((0, 0, 0), (19, 23, 8)):
        there, here = (image.TransformIndexToPhysicalPoint(corner) for image in (stored, source))
        np.testing.assert_allclose(there, here, atol=1e-3)
    rgb, image = sitk.GetArrayFromImage(stored), sitk.GetArrayFromImage(source)
    low, high = np.percentile(image, (0.5, 99.5))
    grey = (np.clip((image - low) / (high - low), 0, 1) * 255).round()
    voxel = tuple(np.argwhere(image == IMAGE[4, 7, 2])[0])
    inside = np.zeros(image.shape, bool)
    inside[voxel] = True
    assert np.array_equal(rgb[~inside], np.repeat(grey[~inside][:, None], 3, axis=1))
    np.testing.assert_allclose(rgb[voxel], 0.2 * grey[voxel] + 0.8 * np.array([252, 255, 164]), atol=1)


def test_the_colours_are_those_of_the_gallery(tmp_path):
    """At the size of a gallery's tile, where it enlarges nothing; of 8 bits, as the gallery rounds the map to these."""
    steps = (np.linspace(0, 1.1, TILE).clip(0, 1) * 255).round() / 255
    ramp = np.tile(steps.astype(np.float32), (TILE, 1))
    files = SERIES.write_series(tmp_path, np.full((1, TILE, TILE), 9, np.int16))
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    saliency = told(values=ramp.T[..., None])
    (capture,) = saliency_as_captures(saliency, np.full((TILE, TILE, 1), 9.0), SERIES.affine(), headers)
    expected = overlay(np.zeros((TILE, TILE, 3), np.float32), ramp, 1.0)
    assert np.abs(capture.pixel_array - expected).max() <= 0.51


def test_it_says_method_e_and_the_whole_model(headers):
    for capture in captured(headers, told(e=0.41234, chance=0.0312)):
        assert capture.SeriesDescription == "Gradient × input; E 0.412, chance 0.031; model 01234567"
        assert capture.DerivationDescription.startswith(f"Saliency by Gradient × input for glioma, model {MODEL};")
        assert capture.ImageType == ["DERIVED", "SECONDARY", "OTHER"]
        assert (capture.Modality, capture.ConversionType) == ("OT", "WSD")


def test_it_is_one_new_series_of_the_study_and_names_the_slice_under_it(headers, tmp_path):
    captures = captured(headers)
    by_uid = {header.SOPInstanceUID: header for header in headers}
    (series,) = {capture.SeriesInstanceUID for capture in captures}
    assert series != headers[0].SeriesInstanceUID
    assert len({capture.SOPInstanceUID for capture in captures}) == len(headers)
    assert [capture.InstanceNumber for capture in captures] == list(range(1, 10))
    named = set()
    for capture in captures:
        capture.save_as(tmp_path / "one.dcm")
        read = pydicom.dcmread(tmp_path / "one.dcm")
        source = by_uid[read.SourceImageSequence[0].ReferencedSOPInstanceUID]
        named.add(source.SOPInstanceUID)
        for tag in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "StudyDate", "StudyID"):
            assert read[tag].value == source[tag].value
        for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            np.testing.assert_allclose(read[tag].value, source[tag].value, atol=1e-4)
        assert (read.Rows, read.Columns) == (source.Rows, source.Columns)
        assert read.PatientOrientation == ["R", "A"]
    assert named == set(by_uid)


def test_letters_outside_ascii_are_kept(headers, tmp_path):
    """The method has a ×, whatever letters the archive's series is written in."""
    source = pydicom.Dataset()
    source.update(headers[0])
    source.SpecificCharacterSet, source.PatientName = "ISO_IR 100", "Müller^Jürgen"
    captured([source, *headers[1:]])[0].save_as(tmp_path / "one.dcm")
    read = pydicom.dcmread(tmp_path / "one.dcm")
    assert (read.PatientName, read.SeriesDescription[:10]) == ("Müller^Jürgen", "Gradient ×")


@pytest.mark.parametrize(("said", "kept"), [(None, "NO"), ("NO", "NO"), ("YES", "YES")])
def test_text_is_burnt_in_only_where_a_source_says_so(headers, said, kept):
    source = pydicom.Dataset()
    source.update(headers[-1])
    source.BurnedInAnnotation = said
    assert {capture.BurnedInAnnotation for capture in captured([*headers[:-1], source])} == {kept}


def test_of_an_enhanced_object_the_frame_is_named(files):
    from highdicom.legacy import LegacyConvertedEnhancedMRImage
    from pydicom.uid import generate_uid

    slices = [pydicom.dcmread(file) for file in files]
    for one in slices:
        one.PatientBirthDate = "19700101"
    enhanced = LegacyConvertedEnhancedMRImage(slices, generate_uid(), 2, generate_uid(), 1)
    frames = set()
    for capture in captured([enhanced]):
        (source,) = capture.SourceImageSequence
        frame = enhanced.PerFrameFunctionalGroupsSequence[source.ReferencedFrameNumber - 1]
        place = frame.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(capture.ImagePositionPatient, place, atol=1e-4)
        frames.add(source.ReferencedFrameNumber)
    assert frames == set(range(1, 10))


def test_a_map_of_zeros_is_the_image_in_grey(headers):
    for capture in captured(headers, told(values=np.zeros(IMAGE.shape))):
        red, green, blue = np.moveaxis(capture.pixel_array, -1, 0)
        assert np.array_equal(red, green)
        assert np.array_equal(red, blue)


@pytest.mark.parametrize("kind", PICTURES.KINDS)
def test_of_a_picture_it_is_one_capture_that_names_it(kind, tmp_path):
    source, image = PICTURES.picture(kind, PatientOrientation=["L", "F"]), PICTURES.noise(12).T[:, :, None]
    values = np.zeros(image.shape)
    values[4, 7] = -3.0
    (capture,) = saliency_as_captures(told(values=values), image, np.eye(4), [source])
    capture.save_as(tmp_path / "capture.dcm")
    stored = pydicom.dcmread(tmp_path / "capture.dcm")
    coloured = np.argwhere(np.ptp(stored.pixel_array.astype(int), axis=-1))
    assert coloured.tolist() == [[7, 4]]
    low, high = np.percentile(image, (0.5, 99.5))
    grey = (np.clip((image[..., 0].T - low) / (high - low), 0, 1) * 255).round()
    assert np.abs(np.delete(stored.pixel_array[..., 0] - grey, 7, axis=0)).max() <= 1
    assert stored.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert (stored.StudyInstanceUID, stored.PatientID) == (source.StudyInstanceUID, source.PatientID)
    assert stored.PatientOrientation == ["L", "F"]
    assert "FrameOfReferenceUID" not in stored
    assert "ImagePositionPatient" not in stored


def test_a_map_or_an_image_of_another_grid_is_refused(headers):
    with pytest.raises(CohortError, match="does not lie on the grid"):
        captured(headers, told(values=told().values[:, 1:]))
    with pytest.raises(CohortError, match="does not lie on the grid"):
        saliency_as_captures(told(), IMAGE[:, 1:], SERIES.affine(), headers)


def read_series(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()
