# SPDX-License-Identifier: Apache-2.0
"""What a SEG marks on a radiograph or on a frame of an ultrasound is that picture's region; other things are told."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    RTStructureSetStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from fedxai.errors import CohortError
from fedxai.intake.dicom.plan import Choice
from fedxai.intake.dicom.take import DicomSettings, take_dicom
from fedxai.intake.table import Columns
from fedxai.intake.taking import IntakeSettings
from fedxai.records import SPLITS

SEG = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("seg.py"))))
ROWS, COLUMNS, FRAMES = 24, 20, 6


def _picture(writer, number, **attributes):
    pixels = np.random.default_rng(number).integers(1, 255, (ROWS, COLUMNS)).astype(np.uint8)
    ds = writer.base(pixels, modality="DX", SOPClassUID=DigitalXRayImageStorageForPresentation, **attributes)
    ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID = f"P{number}", f"1.2.{number}", f"1.2.{number}.1"
    return writer.save(ds)


def _loop(writer):
    pixels = np.random.default_rng(9).integers(1, 255, (FRAMES, ROWS, COLUMNS)).astype(np.uint8)
    ds = writer.base(
        pixels, modality="US", SOPClassUID=UltrasoundMultiFrameImageStorage, BurnedInAnnotation="NO", FrameTime="40"
    )
    ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID = "P0", "1.2.0", "1.2.0.1"
    return writer.save(ds)


def _seg(path, mask, labels=("lesion",), frame=None):
    """A SEG on a picture, or on one frame of a loop, beside it; mask (1, rows, columns[, segments])."""
    source = pydicom.dcmread(path)
    if frame is not None:  # highdicom writes no SEG on a loop that has no frame of reference
        source.SOPClassUID, source.PixelData = UltrasoundImageStorage, source.pixel_array[frame].tobytes()
        del source.NumberOfFrames
    del source.FrameOfReferenceUID  # a projection has none
    seg = SEG.segmentation([source], mask, labels=labels)
    for item in seg.PerFrameFunctionalGroupsSequence if frame is not None else ():
        reference = item.DerivationImageSequence[0].SourceImageSequence[0]
        reference.ReferencedSOPClassUID, reference.ReferencedFrameNumber = UltrasoundMultiFrameImageStorage, frame + 1
    written = path.parent / f"seg{frame}{path.name}"
    seg.save_as(written)
    return written


def _marked(number=0):
    mask = np.zeros((1, ROWS, COLUMNS), dtype=np.uint8)
    mask[:, 3 : 9 + number, 5:11] = 1
    return mask


@pytest.fixture
def take(writer, tmp_path):
    def run(rows=("P0,a", "P1,b", "P2,a"), **choice):
        (tmp_path / "table.csv").write_text("\n".join(["patient,label", *rows]))
        settings = DicomSettings(
            choice=Choice(keyed_by="patient", **choice), intake=IntakeSettings(validation=0, test=0)
        )
        columns = Columns(image="patient")
        done = take_dicom(writer.folder, tmp_path / "table.csv", tmp_path / "out", settings=settings, columns=columns)
        pairs = {}
        for case in [case for split in SPLITS for case in done.cohort.cases(split)]:
            region = None if case.region is None else np.asarray(Image.open(case.region))
            pairs[np.asarray(Image.open(case.image)).tobytes()] = region
        return done, pairs

    return run


def _pixels(path, frame=None):
    pixels = pydicom.dcmread(path).pixel_array
    return (pixels if frame is None else pixels[frame]).tobytes()


def test_a_seg_on_a_radiograph_is_its_region(writer, take):
    paths = [_picture(writer, number) for number in range(3)]
    for number in (0, 1):
        _seg(paths[number], _marked(number))
    done, regions = take()
    assert done.refused == []
    for number in (0, 1):
        np.testing.assert_array_equal(regions[_pixels(paths[number])], 255 * _marked(number)[0])
    assert regions[_pixels(paths[2])] is None
    assert not any("SEG" in note for note in done.notes)


def test_a_seg_that_repeats_the_pixel_spacing_is_read(writer, take):
    """As highdicom writes it on a picture that says one: without a SliceThickness, which its own reader wants."""
    paths = [_picture(writer, number, PixelSpacing=[0.2, 0.1]) for number in range(3)]
    seg = pydicom.dcmread(_seg(paths[0], _marked()))
    (measures,) = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert "SliceThickness" not in measures
    _, regions = take()
    np.testing.assert_array_equal(regions[_pixels(paths[0])], 255 * _marked()[0])


def test_structures_are_chosen_by_name(writer, take):
    paths = [_picture(writer, number) for number in range(3)]
    both = np.stack([_marked(), np.roll(_marked(), 8, axis=1)], axis=-1)
    _seg(paths[0], both, labels=("Lesion", "Ruler"))
    _, regions = take(structures=["lesion"])
    np.testing.assert_array_equal(regions[_pixels(paths[0])], 255 * both[0, ..., 0])


def test_each_frame_of_an_ultrasound_has_what_was_drawn_on_it(writer, take):
    path = _loop(writer)
    for frame in (1, 4):
        _seg(path, _marked(frame), frame=frame)
    _, regions = take(rows=["P0,a"])
    for frame in range(FRAMES):
        if frame in (1, 4):
            np.testing.assert_array_equal(regions[_pixels(path, frame)], 255 * _marked(frame)[0])
        else:
            assert regions[_pixels(path, frame)] is None


def test_a_seg_that_does_not_fit_or_is_damaged_refuses_its_picture_alone(writer, take):
    paths = [_picture(writer, number) for number in range(3)]
    small = pydicom.dcmread(_seg(paths[0], _marked()))
    small.Rows, small.Columns, small.NumberOfFrames = ROWS // 2, COLUMNS, 1
    small.save_as(small.filename)
    damaged = _seg(paths[1], _marked())
    ds = pydicom.dcmread(damaged)
    del ds.SegmentSequence
    ds.save_as(damaged)
    done, _ = take()
    assert done.taken == 1
    assert sorted(refusal.reason.split(" ")[2] for refusal in done.refused) == ["has", "has"]


def test_contours_on_a_radiograph_are_left_out_and_told(writer, take):
    path = _picture(writer, 0)
    drawn = pydicom.dcmread(_seg(path, _marked()))  # as if it were contours: it refers to the picture all the same
    drawn.SOPClassUID = drawn.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    series, study, frame = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    series.SeriesInstanceUID = pydicom.dcmread(path).SeriesInstanceUID
    study.RTReferencedSeriesSequence, frame.RTReferencedStudySequence = [series], [study]
    drawn.ReferencedFrameOfReferenceSequence = [frame]
    drawn.save_as(drawn.filename)
    done, regions = take(rows=["P0,a"])
    assert regions[_pixels(path)] is None
    assert any("1 cases: contours of an RTSTRUCT" in note for note in done.notes)


def test_label_maps_are_not_made_of_pictures(writer, tmp_path):
    _picture(writer, 0)
    settings = DicomSettings(
        intake=IntakeSettings(validation=0, test=0, class_names=["background", "lesion"]), segmentation=True
    )
    with pytest.raises(CohortError, match="A picture has a class, no label map"):
        take_dicom(writer.folder, None, tmp_path / "out", settings=settings)
