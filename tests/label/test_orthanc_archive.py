# SPDX-License-Identifier: Apache-2.0
"""Against a real Orthanc: a series comes voxel for voxel, regions and saliency go back and others can read them."""

import io
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from nibabel.affines import apply_affine

from fedxai.errors import CohortError, RunError
from fedxai.intake.dicom.instance import SLICED
from fedxai.label.archive import Archive
from fedxai.label.series import drawing_of
from fedxai.report.dicom_region import Drawing, region_as_seg
from fedxai.report.dicom_saliency import SaliencyMap, saliency_as_map

ORTHANC = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("orthanc.py"))))
SERIES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("dicom_series.py"))))
MODEL = "0123456789abcdef" * 4
NAMES = {1: "tumour", 2: "œdème"}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(ORTHANC.MISSING, reason=ORTHANC.WHY)]


@pytest.fixture(scope="module")
def uploaded(orthanc, tmp_path_factory):
    """SeriesInstanceUIDs by orientation, one patient each."""
    found = {}
    for name, orientation in SERIES.ORIENTATIONS.items():
        folder = tmp_path_factory.mktemp("series")
        files = SERIES.write_series(folder, SERIES.noise(), orientation=orientation, patient=name)
        orthanc.upload(files)
        found[name] = str(pydicom.dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID)
    return found


@pytest.fixture(scope="module")
def archive(orthanc):
    return Archive(orthanc.dicomweb)


def program(name):
    """One of dcmqi's programs, which share no code with what wrote the files."""
    path = Path(sys.executable).with_name(name)
    return str(path) if path.exists() else shutil.which(name)


def drawn():
    """(columns, rows, slices), in unlike shapes, single voxels in corners among them."""
    labels = np.zeros((20, 24, 9), dtype=np.uint8)
    labels[3:7, 5:12, 2:4] = 1
    labels[0, 0, 0] = labels[19, 0, 8] = 1
    labels[12:14, 20, 6] = labels[0, 23, 8] = 2
    return labels


def stored_instance(orthanc, series):
    (instance,) = orthanc.find(SeriesInstanceUID=series)
    return pydicom.dcmread(io.BytesIO(orthanc.file(instance)))


def places(array, affine):
    return np.array(sorted(map(tuple, np.round(apply_affine(affine, np.argwhere(array)), 3))))


def itk_places(path, value=None):
    """Where SimpleITK says that voxels of a file lie, RAS mm."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    found = np.argwhere(array > 0 if value is None else array == value)[:, ::-1]
    lps = [image.TransformIndexToPhysicalPoint([int(i) for i in index]) for index in found]
    return np.array(sorted(map(tuple, np.round(np.array(lps) * (-1, -1, 1), 3))))


@pytest.mark.parametrize("orientation", SERIES.ORIENTATIONS)
def test_a_series_comes_voxel_for_voxel_to_its_place(archive, uploaded, orientation, tmp_path):
    volume = archive.fetch(uploaded[orientation], tmp_path).volume()
    assert np.array_equal(volume.voxels, SERIES.noise().transpose(2, 1, 0))
    np.testing.assert_allclose(volume.affine, SERIES.affine(SERIES.ORIENTATIONS[orientation]), atol=1e-4)


def test_nothing_the_archive_says_becomes_a_file_name(archive, uploaded, tmp_path):
    archive.fetch(uploaded["axial"], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{k:06d}.dcm" for k in range(9)]


def test_every_series_of_a_kind_is_listed_and_nothing_else(archive, orthanc, uploaded, tmp_path):
    orthanc.upload(SERIES.write_series(tmp_path, SERIES.noise(), modality="CT", patient="other"))
    ct, mr = archive.images(["CT"]), archive.images(["MR"])
    assert set(uploaded.values()) <= mr
    assert len(ct) == 1
    assert archive.images(SLICED) == ct | mr


@pytest.mark.parametrize("orientation", SERIES.ORIENTATIONS)
def test_a_region_is_where_it_was_for_dcmqi(archive, orthanc, uploaded, orientation, tmp_path):
    """segimage2itkimage writes one file a segment, and what it read of names in a JSON beside them."""
    series = archive.fetch(uploaded[orientation], tmp_path / "files")
    affine = series.volume().affine
    drawing = Drawing(labels=drawn(), affine=affine, names=NAMES, reader="Müller")
    uid = archive.store(region_as_seg(drawing, series.headers()))
    (instance,) = orthanc.find(SeriesInstanceUID=uid)
    (tmp_path / "seg.dcm").write_bytes(orthanc.file(instance))
    convert = [program("segimage2itkimage"), "--inputDICOM", tmp_path / "seg.dcm", "--outputDirectory", tmp_path]
    if convert[0] is None:
        pytest.skip("dcmqi is not installed: pip install dcmqi")
    subprocess.run([*map(str, convert), "-t", "nrrd"], check=True, capture_output=True)
    for number in NAMES:
        expected = places(drawn() == number, affine)
        found = itk_places(tmp_path / f"{number}.nrrd")
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=2e-3)
    told = json.loads((tmp_path / "meta.json").read_text(encoding="utf-8"))
    assert [segment["SegmentLabel"] for (segment,) in told["segmentAttributes"]] == list(NAMES.values())
    assert [segment["SegmentAlgorithmType"] for (segment,) in told["segmentAttributes"]] == ["MANUAL", "MANUAL"]
    assert told["ContentCreatorName"].rstrip("^") == "Müller"


@pytest.mark.parametrize("orientation", ["oblique", "sagittal"])
def test_saliency_is_the_same_number_at_the_same_place_for_dcmqi(archive, orthanc, uploaded, orientation, tmp_path):
    import SimpleITK as sitk

    if program("paramap2itkimage") is None:
        pytest.skip("dcmqi is not installed: pip install dcmqi")
    series = archive.fetch(uploaded[orientation], tmp_path / "files")
    affine = series.volume().affine
    values = np.random.default_rng(3).normal(size=(20, 24, 9)).astype(np.float32)
    saliency = SaliencyMap(
        values=values, affine=affine, method="grad_cam", target="glioma", model=MODEL, e=0.4, chance=0.03
    )
    uid = archive.store(saliency_as_map(saliency, series.headers()))
    (instance,) = orthanc.find(SeriesInstanceUID=uid)
    (tmp_path / "map.dcm").write_bytes(orthanc.file(instance))
    convert = [program("paramap2itkimage"), "--inputDICOM", tmp_path / "map.dcm", "--outputDirectory", tmp_path]
    subprocess.run([*map(str, convert), "-t", "nrrd"], check=True, capture_output=True)
    (file,) = tmp_path.glob("*.nrrd")
    image = sitk.ReadImage(str(file))
    array = sitk.GetArrayFromImage(image)
    inverse = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ affine)
    assert array.size == values.size
    for k, j, i in np.ndindex(array.shape):
        place = image.TransformIndexToPhysicalPoint((i, j, k))
        x, y, z, _ = np.rint(inverse @ [*place, 1]).astype(int)
        assert array[k, j, i] == values[x, y, z]


def test_saliency_says_what_it_is_after_the_archive(archive, orthanc, uploaded, tmp_path):
    series = archive.fetch(uploaded["oblique"], tmp_path)
    volume = series.volume()
    saliency = SaliencyMap(
        values=np.ones(volume.grid), affine=volume.affine, method="occlusion", target="glioma", model=MODEL
    )
    stored = stored_instance(orthanc, archive.store(saliency_as_map(saliency, series.headers())))
    assert stored.ContentDescription == "Occlusion; no region; model 01234567"
    assert stored.ReferencedSeriesSequence[0].SeriesInstanceUID == uploaded["oblique"]
    assert stored.PatientID == "oblique"


def test_two_readers_of_one_series_are_both_kept(archive, uploaded, tmp_path):
    series = archive.fetch(uploaded["coronal"], tmp_path)
    volume = series.volume()
    other = np.where(drawn() == 1, drawn(), 0).astype(np.uint8)
    before = len(archive.segmentations(uploaded["coronal"]))
    for reader, labels in (("First", drawn()), ("Second", other)):
        drawing = Drawing(labels=labels, affine=volume.affine, names=NAMES, reader=reader)
        archive.store(region_as_seg(drawing, series.headers()))
    found = [drawing_of(seg, series, volume) for seg in archive.segmentations(uploaded["coronal"])][before:]
    assert [drawing.reader for drawing in found] == ["First", "Second"]
    assert np.array_equal(found[0].labels, drawn())
    assert np.array_equal(found[1].labels, other)
    assert (found[0].names, found[1].names) == (NAMES, {1: "tumour"})
    assert uploaded["coronal"] in archive.drawn()


def test_what_is_not_a_series_of_the_archive_is_refused(archive, tmp_path):
    for series in ("../../etc", "1.2.3/../../x", "", "9" * 65, "1.2.*"):
        with pytest.raises(CohortError, match="SeriesInstanceUID"):
            archive.fetch(series, tmp_path / "no")
    with pytest.raises(CohortError, match="no such series"):
        archive.fetch("1.2.3", tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_an_archive_that_is_not_there_is_said():
    with pytest.raises(RunError, match="did not answer"):
        Archive("http://127.0.0.1:9/dicom-web").images(SLICED)


def test_orthanc_draws_the_region_where_it_is(archive, orthanc, tmp_path):
    """Its own rendering of each frame of the SEG; it draws one-bit pictures only where columns fill whole bytes."""
    from PIL import Image

    orthanc.upload(SERIES.write_series(tmp_path / "made", SERIES.noise((9, 20, 24)), patient="rendered"))
    header = pydicom.dcmread(tmp_path / "made" / "0001.dcm", stop_before_pixels=True)
    series = archive.fetch(str(header.SeriesInstanceUID), tmp_path / "files")
    labels = (drawn() == 1).astype(np.uint8).transpose(1, 0, 2)
    drawing = Drawing(labels=labels, affine=series.volume().affine, names={1: "tumour"}, reader="R")
    (instance,) = orthanc.find(SeriesInstanceUID=archive.store(region_as_seg(drawing, series.headers())))
    places = {tuple(header.ImagePositionPatient): header.InstanceNumber - 1 for header in series.headers()}
    stored = pydicom.dcmread(io.BytesIO(orthanc.file(instance)))
    for frame, group in enumerate(stored.PerFrameFunctionalGroupsSequence):
        k = places[tuple(group.PlanePositionSequence[0].ImagePositionPatient)]
        shown = np.asarray(Image.open(io.BytesIO(orthanc.rendered(instance, frame))))
        assert np.array_equal(shown > 0, labels[..., k].T > 0)
