# SPDX-License-Identifier: Apache-2.0
"""MONAI Label's datastore on a real Orthanc: what a reader saves is a DICOM SEG, what others drew is found."""

import importlib
import io
import runpy
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pydicom
import pytest

from fedxai.errors import CohortError
from fedxai.intake.dicom.display import taken
from fedxai.intake.volume import Volume
from fedxai.label import shims
from fedxai.label.archive import Archive
from fedxai.label.grids import picture_volume, read_image
from fedxai.report.dicom_saliency import SaliencyMap

pytest.importorskip("monailabel", reason="no MONAI Label here: pip install 'fedxai-med[label]'")

shims.apply()
STORE = importlib.import_module("fedxai.label.archive_store")  # needs the shims
NOT_FOUND = importlib.import_module("monailabel.interfaces.exception").ImageNotFoundException
ORTHANC = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("orthanc.py"))))
PICTURES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("dicom_pictures.py"))))
SERIES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("dicom_series.py"))))
SEGMENTS = [{"name": "tumour", "idx": 1}, {"name": "œdème", "idx": 2}]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(ORTHANC.MISSING, reason=ORTHANC.WHY)]


@pytest.fixture
def desk(orthanc, tmp_path):
    """A store on an Orthanc with one oblique series."""
    orthanc.empty()
    files = SERIES.write_series(tmp_path / "made", SERIES.noise())
    orthanc.upload(files)
    series = str(pydicom.dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID)
    store = STORE.ArchiveDatastore(Archive(orthanc.dicomweb), tmp_path / "cache")
    return SimpleNamespace(orthanc=orthanc, store=store, series=series, folder=tmp_path)


def drawn():
    """(columns, rows, slices)."""
    labels = np.zeros((20, 24, 9), dtype=np.uint8)
    labels[3:7, 5:12, 2:4] = 1
    labels[0, 0, 0] = labels[19, 0, 8] = 1
    labels[12:14, 20, 6] = 2
    return labels


def saved(desk, labels, *, reader="Müller", ending=".nrrd", turned=False):
    """Save as a viewer does: a file, and the segments' names."""
    file = desk.folder / f"drawn{ending}"
    if ending == ".bin":
        file.write_bytes(labels.tobytes(order="F"))
    else:
        volume = Volume(voxels=labels, affine=SERIES.affine())
        _write(volume.canonical() if turned else volume, file)
    return desk.store.save_label(desk.series, str(file), "final", {"label_info": SEGMENTS, "user": reader})


def _write(volume, file):
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(volume.voxels.transpose(2, 1, 0))
    affine = np.diag([-1, -1, 1, 1]) @ volume.affine
    image.SetSpacing(volume.spacing)
    image.SetDirection((affine[:3, :3] / volume.spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    sitk.WriteImage(image, str(file))


def test_images_are_listed_by_series_and_come_on_their_own_grid(desk):
    assert desk.store.list_images() == desk.store.get_unlabeled_images() == [desk.series]
    image = nib.load(desk.store.get_image_uri(desk.series))
    assert np.array_equal(image.get_fdata(), SERIES.noise().transpose(2, 1, 0))
    np.testing.assert_allclose(image.affine, SERIES.affine(), atol=1e-4)
    assert desk.store.status() == {"total": 1, "completed": 0, "label_tags": {}}


def test_what_is_brought_here_is_asked_for_once(desk):
    first = Path(desk.store.get_image_uri(desk.series))
    made = first.stat().st_mtime_ns
    again = STORE.ArchiveDatastore(Archive(desk.orthanc.dicomweb), desk.folder / "cache")
    assert Path(again.get_image_uri(desk.series)) == first
    assert first.stat().st_mtime_ns == made


@pytest.mark.parametrize(("ending", "turned"), [(".nrrd", False), (".nrrd", True), (".bin", False)])
def test_a_final_label_is_a_seg_of_the_archive_with_names_and_reader(desk, ending, turned):
    saved(desk, drawn(), ending=ending, turned=turned)
    (instance,) = desk.orthanc.find(Modality="SEG")
    seg = pydicom.dcmread(io.BytesIO(desk.orthanc.file(instance)))
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["tumour", "œdème"]
    assert {segment.SegmentAlgorithmType for segment in seg.SegmentSequence} == {"MANUAL"}
    assert seg.ContentCreatorName.family_name == "Müller"
    (drawing,) = desk.store.drawings(desk.series)
    assert np.array_equal(drawing.labels, drawn())
    assert (drawing.reader, drawing.names) == ("Müller", {1: "tumour", 2: "œdème"})
    assert desk.store.get_labeled_images() == [desk.series]
    assert desk.store.get_unlabeled_images() == []


def test_another_server_finds_what_was_drawn(desk):
    saved(desk, drawn(), reader="First")
    saved(desk, np.where(drawn() == 1, 1, 0).astype(np.uint8), reader="Second")
    other = STORE.ArchiveDatastore(Archive(desk.orthanc.dicomweb), desk.folder / "other")
    assert [drawing.reader for drawing in other.drawings(desk.series)] == ["First", "Second"]
    (pair,) = other.datalist()
    label = nib.load(pair["label"])
    assert np.array_equal(label.get_fdata(), drawn() == 1)
    assert np.array_equal(label.affine, nib.load(pair["image"]).affine)
    assert other.get_label_info(desk.series, "final")["annotator"] == "Second"


def test_other_tags_stay_here(desk):
    file = desk.folder / "drawn.nrrd"
    _write(Volume(voxels=drawn(), affine=SERIES.affine()), file)
    desk.store.save_label(desk.series, str(file), "original", {})
    assert desk.orthanc.find(Modality="SEG") == []
    assert Path(desk.store.get_label_uri(desk.series, "original")).is_file()


def test_what_does_not_fit_goes_nowhere(desk):
    for labels in (np.zeros((20, 24, 9), np.uint8), np.full((20, 24, 9), 7, np.uint8)):
        with pytest.raises(CohortError, match="Nothing was drawn|have no name"):
            saved(desk, labels)
    with pytest.raises(CohortError, match="not of the size"):
        saved(desk, drawn()[1:], ending=".bin")
    with pytest.raises(NOT_FOUND):
        desk.store.get_image_uri("../../../etc/passwd")
    assert desk.orthanc.find(Modality="SEG") == []
    assert desk.store.get_label_uri(desk.series, "final") == ""


def test_saliency_bands_are_not_taken_for_what_was_drawn(desk):
    file = desk.folder / "drawn.nrrd"
    labels = drawn()
    labels[10:15, 2:9, 5] = 3
    _write(Volume(voxels=labels, affine=SERIES.affine()), file)
    segments = [*SEGMENTS, {"name": "saliency high", "idx": 3}]
    desk.store.save_label(desk.series, str(file), "final", {"label_info": segments, "user": "R"})
    (instance,) = desk.orthanc.find(Modality="SEG")
    seg = pydicom.dcmread(io.BytesIO(desk.orthanc.file(instance)))
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["tumour", "œdème"]
    (drawing,) = desk.store.drawings(desk.series)
    assert np.array_equal(drawing.labels, drawn())


def test_saliency_goes_to_the_archive_beside_its_series(desk):
    values = np.random.default_rng(0).normal(size=(20, 24, 9))
    model = "0123456789abcdef" * 4
    saliency = SaliencyMap(values=values, affine=SERIES.affine(), method="occlusion", target="t", model=model)
    uid = desk.store.store_saliency(desk.series, saliency)
    (instance,) = desk.orthanc.find(SeriesInstanceUID=uid)
    stored = pydicom.dcmread(io.BytesIO(desk.orthanc.file(instance)))
    assert np.array_equal(stored.pixel_array, values.astype(np.float32).transpose(2, 1, 0))
    assert desk.store.list_images() == [desk.series]


def test_saliency_in_colour_goes_to_the_archive_as_pictures_that_it_draws(desk):
    from PIL import Image

    values = np.zeros((20, 24, 9))
    values[5, 11, 4] = 1.0
    model = "0123456789abcdef" * 4
    saliency = SaliencyMap(values=values, affine=SERIES.affine(), method="occlusion", target="t", model=model)
    uid = desk.store.store_saliency(desk.series, saliency, form="capture")
    instances = desk.orthanc.find(SeriesInstanceUID=uid)
    assert len(instances) == 9
    study = {header.StudyInstanceUID for header in desk.store.series(desk.series).headers()}
    coloured = []
    for instance in instances:
        stored = pydicom.dcmread(io.BytesIO(desk.orthanc.file(instance)))
        assert {stored.StudyInstanceUID} == study
        shown = np.asarray(Image.open(io.BytesIO(desk.orthanc.rendered(instance))))
        assert np.array_equal(shown, stored.pixel_array)
        coloured += [(stored.InstanceNumber - 1, *place) for place in np.argwhere(np.ptp(shown, axis=-1))]
    assert coloured == [(4, 11, 5)]
    assert desk.store.list_images() == [desk.series]
    assert desk.store.get_labeled_images() == []


def test_pictures_of_the_archive_are_served_and_get_their_regions_and_saliency(desk):
    """One of each kind; a model of pictures is not offered the slices, nor the saliency that it stored."""
    kinds = {PICTURES.write_picture(desk.folder / kind, kind, patient=kind): kind for kind in PICTURES.KINDS}
    desk.orthanc.upload([desk.folder / kind for kind in PICTURES.KINDS])
    store = STORE.ArchiveDatastore(Archive(desk.orthanc.dicomweb), desk.folder / "pictures", dimension=2)
    assert store.list_images() == sorted(kinds)
    assert desk.store.list_images() == [desk.series]
    labels = PICTURES.marked()
    (desk.folder / "drawn.bin").write_bytes(labels.tobytes(order="F"))
    for series, kind in kinds.items():
        source = read_series_of(desk, series)
        image = read_image(Path(store.get_image_uri(series)))
        assert np.array_equal(image.voxels, picture_volume(taken(source, 0)).voxels)
        store.save_label(series, str(desk.folder / "drawn.bin"), "final", {"label_info": SEGMENTS, "user": "Müller"})
        (drawing,) = store.drawings(series)
        assert np.array_equal(drawing.labels, labels)
        assert (drawing.reader, drawing.names) == ("Müller", {1: "tumour", 2: "œdème"})
        seg = read_series_of(desk, store._archive.segmentations(series)[0].SeriesInstanceUID)
        assert (seg.PatientID, seg.StudyInstanceUID) == (kind, source.StudyInstanceUID)
        assert np.array_equal(seg.pixel_array[0].T, labels[..., 0] == 1)
        values = np.zeros(labels.shape)
        values[5, 11] = 1.0
        model = "0123456789abcdef" * 4
        saliency = SaliencyMap(values=values, affine=image.affine, method="occlusion", target="t", model=model)
        capture = read_series_of(desk, store.store_saliency(series, saliency, form="capture"))
        assert np.argwhere(np.ptp(capture.pixel_array.astype(int), axis=-1)).tolist() == [[11, 5]]
    assert store.list_images() == store.get_labeled_images() == sorted(kinds)


def read_series_of(desk, series):
    (instance,) = desk.orthanc.find(SeriesInstanceUID=series)
    return pydicom.dcmread(io.BytesIO(desk.orthanc.file(instance)))


def test_names_are_read_as_viewers_send_them():
    assert STORE.names_of(SEGMENTS) == {1: "tumour", 2: "œdème"}
    assert STORE.names_of([{"name": "a"}, {"name": "b"}]) == {1: "a", 2: "b"}
    for wrong in ([{"idx": 1}], ["a"], [{"name": "a", "idx": "x"}]):
        with pytest.raises(CohortError, match="label_info"):
            STORE.names_of(wrong)
