# SPDX-License-Identifier: Apache-2.0
"""A saliency map becomes a DICOM parametric map: every number at its place, and what must be known beside it."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest

from fedxai.errors import CohortError, ExplanationError, SettingsError
from fedxai.report.dicom_saliency import SaliencyMap, saliency_as_map

PICTURES = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "label" / "dicom_pictures.py")))
SERIES = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "label" / "dicom_series.py")))
MODEL = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def headers(tmp_path_factory):
    files = SERIES.write_series(tmp_path_factory.mktemp("series"), SERIES.noise())
    return [pydicom.dcmread(file, stop_before_pixels=True) for file in files]


def told(**change):
    """(columns, rows, slices) of signed numbers in which no two are alike."""
    values = np.random.default_rng(3).normal(size=(20, 24, 9)).astype(np.float32)
    given = {"values": values, "affine": SERIES.affine(), "method": "grad_cam", "target": "glioma", "model": MODEL}
    return SaliencyMap(**{**given, **change})


def test_every_number_is_kept_to_the_bit_at_its_place(headers, tmp_path):
    saliency = told()
    saliency_as_map(saliency, headers).save_as(tmp_path / "map.dcm")
    stored = pydicom.dcmread(tmp_path / "map.dcm")
    assert stored.pixel_array.dtype == np.float32
    shared = stored.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    down, across = (float(s) for s in shared.PixelMeasuresSequence[0].PixelSpacing)
    inverse = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ saliency.affine)
    seen = 0
    for frame, group in zip(stored.pixel_array, stored.PerFrameFunctionalGroupsSequence, strict=True):
        start = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        for row, column in np.ndindex(frame.shape):
            place = start + column * across * cosines[:3] + row * down * cosines[3:]
            i, j, k, _ = np.rint(inverse @ [*place, 1]).astype(int)
            assert frame[row, column] == saliency.values[i, j, k]
            seen += 1
    assert seen == saliency.values.size


def test_it_says_method_model_and_e_beside_chance(headers):
    stored = saliency_as_map(told(e=0.41234, chance=0.0312), headers)
    assert stored.ContentDescription == "Grad-CAM; E 0.412, chance 0.031; model 01234567"
    assert MODEL in stored.SoftwareVersions
    assert stored.SeriesDescription == "Grad-CAM: glioma"
    mapping = stored.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.LUTExplanation == "Grad-CAM of glioma"
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1.0, 0.0)
    assert stored.StudyInstanceUID == headers[0].StudyInstanceUID
    assert stored.FrameOfReferenceUID == headers[0].FrameOfReferenceUID
    named = {item.ReferencedSOPInstanceUID for item in stored.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert named == {header.SOPInstanceUID for header in headers}


def test_no_region_is_said(headers):
    assert saliency_as_map(told(), headers).ContentDescription == "Grad-CAM; no region; model 01234567"


def test_the_window_reaches_from_the_weakest_to_the_strongest_colour(headers):
    positive = told(values=np.abs(told().values))
    top = np.percentile(positive.values, 99)
    voi = saliency_as_map(positive, headers).SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0]
    assert float(voi.WindowCenter) == pytest.approx(top / 2, rel=1e-4)
    assert float(voi.WindowWidth) == pytest.approx(top, rel=1e-4)


def test_a_map_of_zeros_is_stored(headers):
    stored = saliency_as_map(told(values=np.zeros((20, 24, 9), np.float32)), headers)
    assert not stored.pixel_array.any()


def test_a_long_method_name_still_fits(headers):
    assert len(told(method="a" * 60, e=0.1, chance=0.1).description) <= 64
    assert saliency_as_map(told(method="guided_backpropagation_of_all", target="t" * 80), headers)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"model": "abc"}, SettingsError, "SHA-256"),
        ({"e": 0.4}, SettingsError, "chance"),
        ({"e": float("nan"), "chance": 0.1}, SettingsError, "finite"),
        ({"values": np.full((20, 24, 9), np.inf)}, ExplanationError, "finite"),
    ],
)
def test_what_cannot_be_read_rightly_is_refused_when_made(change, error, said):
    with pytest.raises(error, match=said):
        told(**change)


def test_a_map_of_another_grid_is_refused(headers):
    with pytest.raises(CohortError, match="does not lie on the grid"):
        saliency_as_map(told(values=told().values[:, 1:]), headers)


def test_of_a_picture_another_form_is_named():
    with pytest.raises(CohortError, match="take form capture"):
        saliency_as_map(told(), [PICTURES.picture("MG")])
