# SPDX-License-Identifier: Apache-2.0
"""A region becomes a DICOM SEG: every voxel where it was, every name and the reader kept, whatever the axes."""

import runpy
from itertools import permutations, product
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pydicom
import pytest
from nibabel.affines import apply_affine
from pydicom.valuerep import PersonName

from fedxai.errors import CohortError, SettingsError
from fedxai.report.dicom_region import Drawing, person, region_as_seg

PICTURES = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "label" / "dicom_pictures.py")))
SERIES = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "label" / "dicom_series.py")))
NAMES = {2: "tumour, left", 5: "œdème"}
MODEL = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def headers(tmp_path_factory):
    """Headers of one series for each orientation, read once."""
    found = {}
    for name, orientation in SERIES.ORIENTATIONS.items():
        files = SERIES.write_series(tmp_path_factory.mktemp("series"), SERIES.noise(), orientation=orientation)
        found[name] = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    return found


def drawn(orientation="oblique"):
    """(columns, rows, slices): values 2 and 5 in unlike shapes, single voxels in corners among them."""
    labels = np.zeros((20, 24, 9), dtype=np.uint8)
    labels[3:7, 5:12, 2:4] = 2
    labels[0, 0, 0] = labels[19, 0, 8] = 2
    labels[12:14, 20, 6] = 5
    labels[0, 23, 8] = 5
    return labels, SERIES.affine(SERIES.ORIENTATIONS[orientation])


def places(labels, affine, value):
    """Where the voxels of a value lie, in RAS mm."""
    return sorted(map(tuple, np.round(apply_affine(affine, np.argwhere(labels == value)), 3)))


def places_in(seg, number):
    """The same of a segment, from nothing but the attributes of the standard (PS3.3 C.7.6.2.1.1)."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = [float(c) for c in shared.PlaneOrientationSequence[0].ImageOrientationPatient]
    down, across = (float(s) for s in shared.PixelMeasuresSequence[0].PixelSpacing)
    along, below = np.array(cosines[:3]) * across, np.array(cosines[3:]) * down
    found = []
    for frame, group in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber != number:
            continue
        start = np.array([float(x) for x in group.PlanePositionSequence[0].ImagePositionPatient])
        found += [start + column * along + row * below for row, column in np.argwhere(frame)]
    return sorted(map(tuple, np.round(np.array(found) * (-1, -1, 1), 3)))


def near(one, other):
    return len(one) == len(other) and np.allclose(one, other, atol=2e-3)


@pytest.mark.parametrize("orientation", SERIES.ORIENTATIONS)
def test_every_voxel_stays_where_it_was(headers, orientation, tmp_path):
    labels, affine = drawn(orientation)
    seg = region_as_seg(Drawing(labels=labels, affine=affine, names=NAMES, reader="R"), headers[orientation])
    seg.save_as(tmp_path / "seg.dcm")
    stored = pydicom.dcmread(tmp_path / "seg.dcm")
    assert near(places(labels, affine, 2), places_in(stored, 1))
    assert near(places(labels, affine, 5), places_in(stored, 2))


@pytest.mark.parametrize("turn", list(permutations(range(3))), ids=str)
def test_the_order_and_direction_of_axes_are_free(headers, turn):
    labels, affine = drawn()
    for flips in product((1, -1), repeat=3):
        turned = np.stack([turn, flips], axis=1)
        other = nib.orientations.apply_orientation(labels, turned)
        matrix = affine @ nib.orientations.inv_ornt_aff(turned, labels.shape)
        seg = region_as_seg(Drawing(labels=other, affine=matrix, names=NAMES, reader="R"), headers["oblique"])
        assert near(places(labels, affine, 2), places_in(seg, 1))


def test_names_reader_and_origin_are_kept(headers, tmp_path):
    labels, affine = drawn()
    seg = region_as_seg(Drawing(labels=labels, affine=affine, names=NAMES, reader="Müller^A"), headers["oblique"])
    seg.save_as(tmp_path / "seg.dcm")
    stored = pydicom.dcmread(tmp_path / "seg.dcm")
    assert [segment.SegmentLabel for segment in stored.SegmentSequence] == ["tumour, left", "œdème"]
    assert [segment.SegmentAlgorithmType for segment in stored.SegmentSequence] == ["MANUAL", "MANUAL"]
    assert stored.ContentCreatorName.family_name == "Müller A"
    source = headers["oblique"][0]
    assert stored.StudyInstanceUID == source.StudyInstanceUID
    assert stored.PatientID == source.PatientID
    assert stored.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert stored.SeriesInstanceUID != source.SeriesInstanceUID
    assert stored.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID


def test_each_frame_names_the_slice_it_was_drawn_on(headers):
    labels, affine = drawn()
    seg = region_as_seg(Drawing(labels=labels, affine=affine, names=NAMES, reader="R"), headers["oblique"])
    by_uid = {header.SOPInstanceUID: header for header in headers["oblique"]}
    for group in seg.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        place = [float(x) for x in group.PlanePositionSequence[0].ImagePositionPatient]
        assert np.allclose(place, by_uid[source].ImagePositionPatient, atol=1e-3)


def test_what_a_model_made_does_not_pass_for_a_readers(headers):
    labels, affine = drawn()
    seg = region_as_seg(Drawing(labels=labels, affine=affine, names=NAMES, reader="R", model=MODEL), headers["oblique"])
    (one, two) = seg.SegmentSequence
    assert one.SegmentAlgorithmType == two.SegmentAlgorithmType == "AUTOMATIC"
    assert one.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == MODEL[:16]


def test_a_drawing_of_another_grid_is_refused(headers):
    labels, affine = drawn()
    moved = affine.copy()
    moved[0, 3] += 0.3
    for array, matrix in ((labels, moved), (labels[1:], affine), (labels, affine @ np.diag([2.0, 1, 1, 1]))):
        with pytest.raises(CohortError, match="does not lie on the grid"):
            region_as_seg(Drawing(labels=array, affine=matrix, names=NAMES, reader="R"), headers["oblique"])


def test_an_incomplete_series_is_refused(headers):
    labels, affine = drawn()
    slices = sorted(headers["oblique"], key=lambda header: header.InstanceNumber)
    with pytest.raises(CohortError, match="no regular grid"):
        region_as_seg(Drawing(labels=labels, affine=affine, names=NAMES, reader="R"), slices[:4] + slices[5:])


@pytest.mark.parametrize("kind", PICTURES.KINDS)
def test_on_a_picture_it_is_the_pictures_pixels_and_names_the_picture(kind, tmp_path):
    """Read by pydicom alone, a frame a segment; and by highdicom, who must find it by the picture's own UID."""
    from highdicom.seg import segread

    source, labels = PICTURES.picture(kind), PICTURES.marked()
    del source.PixelData
    drawing = Drawing(labels=labels, affine=np.eye(4), names={1: "tumour, left", 2: "œdème"}, reader="Müller^A")
    region_as_seg(drawing, [source]).save_as(tmp_path / "seg.dcm")
    stored = pydicom.dcmread(tmp_path / "seg.dcm")
    for number, frame in enumerate(stored.pixel_array, start=1):
        assert np.array_equal(frame.T, labels[..., 0] == number)
    assert [segment.SegmentLabel for segment in stored.SegmentSequence] == ["tumour, left", "œdème"]
    assert (stored.ContentCreatorName.family_name, stored.PatientID) == ("Müller A", source.PatientID)
    assert stored.StudyInstanceUID == source.StudyInstanceUID
    assert "FrameOfReferenceUID" not in stored
    (series,) = stored.ReferencedSeriesSequence
    frames = (group.DerivationImageSequence[0] for group in stored.PerFrameFunctionalGroupsSequence)
    named = [*series.ReferencedInstanceSequence, *(one for frame in frames for one in frame.SourceImageSequence)]
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    assert {one.ReferencedSOPInstanceUID for one in named} == {source.SOPInstanceUID}
    assert {one.ReferencedSOPClassUID for one in named} == {source.SOPClassUID}
    read = segread(tmp_path / "seg.dcm").get_pixels_by_source_instance([source.SOPInstanceUID], combine_segments=True)
    assert np.array_equal(read[0].T, labels[..., 0])


def test_a_drawing_of_another_picture_is_refused():
    for other in (PICTURES.marked()[1:], PICTURES.marked().transpose(1, 0, 2)):
        drawing = Drawing(labels=other, affine=np.eye(4), names={1: "a", 2: "b"}, reader="R")
        with pytest.raises(CohortError, match="pixels of the picture"):
            region_as_seg(drawing, [PICTURES.picture("DX")])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": np.zeros((20, 24, 9), np.uint8)}, "Nothing was drawn"),
        ({"names": {2: "a"}}, r"Values \[5\]"),
        ({"reader": "  "}, "reader must be"),
        ({"reader": "a\nb"}, "reader must be"),
        ({"names": {2: "a", 5: "b" * 65}}, "name of a segment"),
    ],
)
def test_what_cannot_be_kept_is_refused_when_made(change, said):
    labels, affine = drawn()
    given = {"labels": labels, "affine": affine, "names": NAMES, "reader": "R", **change}
    with pytest.raises((CohortError, SettingsError), match=said):
        Drawing(**given)


def test_a_readers_name_is_one_component():
    assert PersonName(person("Doe^Jane=x\\y")).family_name == "Doe Jane x y"
