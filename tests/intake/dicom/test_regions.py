# SPDX-License-Identifier: Apache-2.0
"""SEG and RTSTRUCT become masks; and a cohort of NIfTI goes to DICOM and comes back the same."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from fedxai.errors import CohortError
from fedxai.intake.dicom.instance import read_instance
from fedxai.intake.dicom.numbers import same_pixels, volume_of
from fedxai.intake.dicom.plan import Choice
from fedxai.intake.dicom.regions import region_of
from fedxai.intake.dicom.stacks import stacks_of
from fedxai.intake.dicom.take import DicomSettings, take_dicom
from fedxai.intake.resample import onto_grid
from fedxai.intake.stored import read_values
from fedxai.intake.table import Columns
from fedxai.intake.taking import IntakeSettings
from fedxai.intake.volume import Volume
from fedxai.records import SPLITS

SEG = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("seg.py"))))


def _stack(folder):
    instances = [read_instance(path, allow_burned_in=True) for path in sorted(folder.iterdir())]
    (stack,) = stacks_of([frame for instance in instances for frame in instance.frames], same_pixels)
    return stack


def _seg(folder, masks, *, kind="BINARY", labels=("lesion",), keep=None):
    """A SEG on the series in a folder; masks (slices, rows, columns[, segments]) along the normal."""
    sources = [pydicom.dcmread(path) for path in folder.iterdir()]
    sources.sort(key=lambda source: float(np.dot(source.ImagePositionPatient, _normal(source))))
    chosen = list(range(len(sources)) if keep is None else keep)
    seg = SEG.segmentation([sources[k] for k in chosen], masks[chosen], labels=labels, kind=kind)
    path = folder.parent / f"{generate_uid()}.seg"
    seg.save_as(path)
    return path


def _normal(ds):
    return np.cross(ds.ImageOrientationPatient[:3], ds.ImageOrientationPatient[3:])


def _rtstruct(folder, contours, *, series, kind="CLOSED_PLANAR", names=("lesion",)):
    """An RTSTRUCT; contours: per structure, a list of (points, 3) in LPS mm."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.Modality, ds.PatientID, ds.StudyInstanceUID = "RTSTRUCT", "P1", "1.2.3"
    frame, study, of_series = Dataset(), Dataset(), Dataset()
    of_series.SeriesInstanceUID = series
    study.RTReferencedSeriesSequence, frame.RTReferencedStudySequence = [of_series], [study]
    ds.ReferencedFrameOfReferenceSequence = [frame]
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number, (name, outlines) in enumerate(zip(names, contours, strict=True), start=1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, drawn.ReferencedROINumber = number, name, number
        drawn.ContourSequence = []
        for points in outlines:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
            contour.ContourData = [round(float(value), 4) for value in np.ravel(points)]
            drawn.ContourSequence.append(contour)
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(drawn)
    path = folder.parent / f"{generate_uid()}.rt"
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def image(writer, phantom):
    writer.series(phantom, modality="CT")
    return writer.folder


@pytest.fixture
def block():
    mask = np.zeros((8, 24, 20), dtype=np.uint8)
    mask[2:6, 4:14, 6:15] = 1
    return mask


def _on(mask, stack):
    return onto_grid(mask, volume_of(stack)).voxels


@pytest.mark.slow
@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1)])
def test_a_segmentation_comes_back_voxel_for_voxel(writer, phantom, block, orientation):
    step = 2.5 * np.cross(orientation[:3], orientation[3:])
    writer.series(phantom, orientation=orientation, step=step)
    mask = region_of([_seg(writer.folder, block)], _stack(writer.folder), [])
    assert np.array_equal(_on(mask, _stack(writer.folder)), block.transpose(2, 1, 0))


@pytest.mark.slow
def test_a_segmentation_of_some_slices_only_finds_its_place(image, block):
    mask = region_of([_seg(image, block, keep=[2, 3, 4, 5])], _stack(image), [])
    assert np.array_equal(_on(mask, _stack(image)), block.transpose(2, 1, 0))


@pytest.mark.slow
def test_of_a_fractional_segmentation_at_least_one_half_belongs(image, block):
    fractions = block * np.linspace(0.1, 1.0, 24)[None, :, None]
    mask = region_of([_seg(image, fractions, kind="FRACTIONAL")], _stack(image), [])
    expected = (np.rint(fractions * 255) / 255 >= 0.5).transpose(2, 1, 0)
    assert np.array_equal(_on(mask, _stack(image)) > 0, expected)


@pytest.mark.slow
def test_segments_are_chosen_by_name_or_joined(image, block):
    both = np.stack([block, np.roll(block, 1, axis=0)], axis=-1)
    path = _seg(image, both, labels=("lesion", "organ"))
    stack = _stack(image)
    assert np.array_equal(_on(region_of([path], stack, ["ORGAN"]), stack), both[..., 1].transpose(2, 1, 0))
    assert np.array_equal(_on(region_of([path], stack, []), stack), both.any(axis=-1).transpose(2, 1, 0))
    assert region_of([path], stack, ["bone"]) is None


def _rectangle(low, high, z):
    (x0, y0), (x1, y1) = low, high
    return np.array([[x0, y0, z], [x1, y0, z], [x1, y1, z], [x0, y1, z]])


def _around(rows, columns, k):
    """A rectangle half a pixel around rows and columns of slice k of the ``image``."""
    low = (-10 + 0.7 * (columns[0] - 0.5), 20 + 0.8 * (rows[0] - 0.5))
    high = (-10 + 0.7 * (columns[1] - 0.5), 20 + 0.8 * (rows[1] - 0.5))
    return _rectangle(low, high, 30 + 2.5 * k)


def test_contours_fill_the_voxels_whose_middle_lies_inside(image, block, uid):
    path = _rtstruct(image, [[_around((4, 14), (6, 15), k) for k in range(2, 6)]], series=uid("x"))
    mask = region_of([path], _stack(image), [])
    assert np.array_equal(mask.voxels, block.transpose(2, 1, 0))


def test_an_inner_contour_is_a_hole_and_structures_are_joined(image, uid):
    ring = [_around((4, 14), (4, 14), 3), _around((7, 9), (7, 9), 3)]
    path = _rtstruct(image, [ring, [_around((7, 8), (7, 8), 3)]], series=uid("x"), names=("ring", "dot"))
    stack = _stack(image)
    assert region_of([path], stack, ["ring"]).voxels.sum() == 100 - 4
    assert region_of([path], stack, []).voxels.sum() == 100 - 4 + 1


def test_a_contour_is_filled_as_a_slow_rule_says(image, uid):
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    centre = np.array([-10 + 0.7 * 9.3, 20 + 0.8 * 11.7])
    circle = np.column_stack([centre[0] + 4.1 * np.cos(angles), centre[1] + 4.1 * np.sin(angles), [35.0] * 40])
    mask = region_of([_rtstruct(image, [[circle]], series=uid("x"))], _stack(image), []).voxels[..., 2]
    for r in range(24):
        for c in range(20):
            x, y = -10 + 0.7 * c, 20 + 0.8 * r
            crossings = 0
            for (x0, y0), (x1, y1) in zip(circle[:, :2], np.roll(circle[:, :2], -1, axis=0), strict=True):
                if (y0 > y) != (y1 > y) and x < (x1 - x0) * (y - y0) / (y1 - y0) + x0:
                    crossings += 1
            assert mask[c, r] == crossings % 2


TWISTED = np.array([[0, 0, 0], [0, 0, 3], [0, 0, 0], [0, 0, 3]])  # two corners on the next slice


@pytest.mark.parametrize(
    ("points", "kind", "said"),
    [
        (_around((4, 9), (4, 9), 2.5), "CLOSED_PLANAR", "does not lie on the image's slices"),
        (_around((4, 9), (4, 9), 99), "CLOSED_PLANAR", "does not lie on the image's slices"),
        (_around((4, 9), (4, 9), 3) + TWISTED, "CLOSED_PLANAR", "does not lie"),
        (_around((4, 9), (4, 9), 3), "OPEN_PLANAR", "no closed outline"),
        (_around((4, 9), (4, 9), 3)[:2], "CLOSED_PLANAR", "no closed outline"),
    ],
)
def test_a_contour_without_a_place_is_refused(image, uid, points, kind, said):
    with pytest.raises(CohortError, match=said):
        region_of([_rtstruct(image, [[points]], series=uid("x"), kind=kind)], _stack(image), [])


def test_contours_on_a_tilted_series_go_upright_with_it(writer, uid):
    voxels = np.full((5, 30, 20), -1000, dtype=np.int16)
    for k in range(5):
        voxels[k, 15 - k : 25 - k, 5:15] = 500
    writer.series(voxels, step=(0, 0.8, 2.5))
    stack = _stack(writer.folder)
    outlines = [_rectangle((-6.85, 31.6), (0.15, 39.6), 30 + 2.5 * k) for k in range(5)]
    mask = region_of([_rtstruct(writer.folder, [outlines], series=uid("x"))], stack, [])
    assert np.array_equal(_on(mask, stack) > 0, volume_of(stack).voxels == 500)


@pytest.mark.slow
@pytest.mark.parametrize("drawn", ["seg", "rtstruct", "nifti"])
def test_nifti_goes_to_dicom_and_comes_back_the_same(tmp_path, writer_in, drawn):
    """Voxels, geometry and masks of four volumes, written as series and taken in again."""
    rng = np.random.default_rng(3)
    folder = tmp_path / "export"
    originals = {}
    lines = ["patient,label,mask"]
    for number in range(4):
        voxels = rng.integers(-900, 900, (20, 24, 8)).astype(np.int16)
        mask = np.zeros(voxels.shape, dtype=np.uint8)
        mask[4:12, 6 + number : 16, 2:6] = 1
        volume = Volume(voxels=voxels, affine=np.diag([0.7, 0.8, 2.5, 1.0]) + _offset(-12, 30 - number, 5))
        originals[voxels.tobytes()] = (volume, mask)
        own = writer_in(tmp_path / f"own{number}")
        lps = voxels[::-1, ::-1].transpose(2, 1, 0)  # slices, rows, columns as DICOM runs them
        start = np.diag([-1, -1, 1, 1]) @ volume.affine @ [19, 23, 0, 1]
        own.series(lps, start=start[:3], patient=f"P{number}", study=number)
        extra = _drawn(drawn, own.folder, mask, start, tmp_path)
        lines.append(f"P{number},{'ab'[number % 2]},{extra.name if drawn == 'nifti' else ''}")
        for path in [*own.folder.iterdir(), *([] if drawn == "nifti" else [extra])]:
            folder.mkdir(exist_ok=True)
            path.rename(folder / f"{number}{path.name}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    settings = DicomSettings(
        choice=Choice(keyed_by="patient", masks=tmp_path), intake=IntakeSettings(validation=0, test=0.25)
    )
    taken = take_dicom(
        folder, tmp_path / "table.csv", tmp_path / "out", settings=settings, columns=Columns(image="patient")
    )
    assert taken.refused == []
    cases = [case for split in SPLITS for case in taken.cohort.cases(split)]
    assert len(cases) == 4
    for case in cases:
        voxels, affine = read_values(case.image, what="image")
        volume, mask = originals[np.ascontiguousarray(voxels).astype(np.int16).tobytes()]
        np.testing.assert_allclose(affine, volume.affine, atol=1e-4)
        assert np.array_equal(read_values(case.region, what="region")[0] > 0, mask > 0)


def _offset(x, y, z):
    matrix = np.zeros((4, 4))
    matrix[:3, 3] = x, y, z
    return matrix


def _drawn(kind, folder, mask, start, root):
    lps = np.ascontiguousarray(mask[::-1, ::-1].transpose(2, 1, 0))
    if kind == "seg":
        return _seg(folder, lps)
    if kind == "rtstruct":
        outlines = []
        for k in np.flatnonzero(lps.any(axis=(1, 2))):
            rows, columns = np.nonzero(lps[k])
            low = (start[0] + 0.7 * (columns.min() - 0.5), start[1] + 0.8 * (rows.min() - 0.5))
            high = (start[0] + 0.7 * (columns.max() + 0.5), start[1] + 0.8 * (rows.max() + 0.5))
            outlines.append(_rectangle(low, high, start[2] + 2.5 * k))
        series = pydicom.dcmread(next(folder.iterdir())).SeriesInstanceUID
        return _rtstruct(folder, [outlines], series=series)
    affine = np.diag([-1, -1, 1, 1]) @ (np.diag([0.7, 0.8, 2.5, 1.0]) + _offset(*start[:3]))
    path = root / f"{folder.name}.nii.gz"
    Volume(voxels=lps.transpose(2, 1, 0), affine=affine).write(path)
    return path


@pytest.mark.slow
def test_segments_become_the_values_of_a_label_map(image, block, tmp_path):
    both = np.stack([block, np.roll(block, 2, axis=0) * (1 - block)], axis=-1)
    _seg(image, both, labels=("Organ", "Lesion")).rename(image / "drawn")
    settings = DicomSettings(
        intake=IntakeSettings(validation=0, test=0, class_names=["background", "lesion", "organ"]), segmentation=True
    )
    cohort = take_dicom(image, None, tmp_path / "out", settings=settings).cohort
    ((case,),) = [cohort.cases("training")]
    values = read_values(case.label, what="label map")[0]
    expected = np.where(both[..., 1], 1, np.where(both[..., 0], 2, 0)).transpose(2, 1, 0)[::-1, ::-1]
    assert np.array_equal(values, expected)
