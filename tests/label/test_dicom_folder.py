# SPDX-License-Identifier: Apache-2.0
"""A folder of DICOM files is read as an archive is: images by series, regions and saliency put beside them."""

import importlib
import os
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from fedxai.cli import app
from fedxai.errors import CohortError, RunError
from fedxai.intake.cohort import Cohort
from fedxai.label import shims
from fedxai.label.archive import Archive, reads_series
from fedxai.label.dicom_folder import DicomFolder
from fedxai.label.doctor import studies
from fedxai.label.feedback import Feedback
from fedxai.label.model_watch import ModelWatch
from fedxai.label.settings import ServerSettings
from fedxai.report.dicom_saliency import SaliencyMap

pytest.importorskip("monailabel", reason="no MONAI Label here: pip install 'fedxai-med[label]'")

shims.apply()
STORES = importlib.import_module("fedxai.label.stores")  # needs the shims
SERIES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("dicom_series.py"))))
WORKSTATION = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("workstation.py"))))
LESION = {"label_info": [{"name": "lesion", "idx": 1}]}


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Two series in one folder, files in subfolders and without endings, and what a reader saved."""
    monkeypatch.setattr("fedxai.label.dicom_folder._FRESH", 0.0)
    series = []
    for name, axes in (("oblique", SERIES.OBLIQUE), ("axial", SERIES.ORIENTATIONS["axial"])):
        files = SERIES.write_series(tmp_path / "export" / name, SERIES.noise(), orientation=axes, patient=name)
        for file in files:
            file.rename(file.with_suffix(""))
        series.append(str(pydicom.dcmread(files[0].with_suffix("")).SeriesInstanceUID))
    return SimpleNamespace(folder=tmp_path / "export", series=series, store=store_of(tmp_path), root=tmp_path)


def store_of(root):
    store = STORES.ReadersArchive(Archive(str(root / "export")), root / "archive")
    store.feedback, store.checked = Feedback(root / "archive" / "feedback"), lambda said: said
    return store


def drawn():
    """(columns, rows, slices)."""
    labels = np.zeros((20, 24, 9), dtype=np.uint8)
    labels[3:7, 5:12, 2:4] = 1
    return labels


def saved(site, labels, reader="Rahman"):
    image = nib.load(site.store.get_image_uri(site.series[0]))
    nib.save(nib.Nifti1Image(labels, image.affine), site.root / "drawn.nii.gz")
    site.store.save_label(site.series[0], str(site.root / "drawn.nii.gz"), "final", {**LESION, "user": reader})


def test_images_are_the_series_and_come_voxel_for_voxel(site):
    assert site.store.list_images() == sorted(site.series)
    image = nib.load(site.store.get_image_uri(site.series[0]))
    assert np.array_equal(image.get_fdata(), SERIES.noise().transpose(2, 1, 0))
    np.testing.assert_allclose(image.affine, SERIES.affine(), atol=1e-4)


def test_a_region_lies_in_the_folder_as_a_seg_with_its_reader_and_another_server_finds_it(site):
    assert site.store.get_unlabeled_images() == sorted(site.series)
    saved(site, drawn())
    (file,) = (site.folder / "fedxai").rglob("*.dcm")
    seg = pydicom.dcmread(file)
    assert (seg.Modality, seg.ContentCreatorName.family_name) == ("SEG", "Rahman")
    assert int(seg.pixel_array.sum()) == drawn().sum()
    other = store_of(site.root)
    assert other.get_labeled_images() == [site.series[0]]
    assert np.array_equal(other.drawings(site.series[0])[0].labels, drawn())
    assert [one.reader for one in site.store.feedback.opinions(site.series[0])] == ["Rahman"]


def test_saliency_lies_in_the_folder_and_is_no_image(site):
    values = np.random.default_rng(0).normal(size=(20, 24, 9))
    saliency = SaliencyMap(
        values=values, affine=SERIES.affine(), method="occlusion", target="t", model="0123456789abcdef" * 4
    )
    for form, count in (("map", 1), ("capture", 9)):
        uid = site.store.store_saliency(site.series[0], saliency, form=form)
        assert len(list((site.folder / "fedxai" / uid).iterdir())) == count
    assert site.store.list_images() == sorted(site.series)


def test_what_another_workstation_put_there_is_drawn_and_a_new_series_is_listed(site):
    slices = [pydicom.dcmread(path) for path in sorted((site.folder / "oblique").iterdir())]
    WORKSTATION.write_seg(site.folder / "theirs", slices, [("lesion", drawn())], reader="Stranger^A")
    assert np.array_equal(site.store.drawn_elsewhere(site.series[0], ["lesion"])["Stranger"].labels, drawn())
    SERIES.write_series(site.folder / "new", SERIES.noise())
    assert len(site.store.list_images()) == 3
    shutil.rmtree(site.folder / "new")
    assert site.store.list_images() == sorted(site.series)


def test_what_readers_drew_becomes_the_cohorts_region(site, cohort_3d):
    cohort = Cohort.open(shutil.copytree(cohort_3d["classification"].folder, site.root / "cohort"))
    case = cohort.cases("training")[0]
    files = SERIES.write_volume(site.folder / "case", nib.load(case.image), axes="PIR")
    site.series[0] = str(pydicom.dcmread(files[0]).SeriesInstanceUID)
    labels = np.zeros(nib.load(site.store.get_image_uri(site.series[0])).shape, dtype=np.uint8)
    labels[3:9, 5:12, 2:7] = 1
    saved(site, labels)
    told = CliRunner().invoke(app, ["label", "export", str(site.root / "archive"), str(cohort.folder)])
    assert told.exit_code == 0, told.output
    region = nib.load(Cohort.open(cohort.folder).cases("training")[0].region)
    assert np.asarray(region.dataobj).sum() == labels.sum()


def test_what_is_no_series_or_would_lead_out_is_passed_over(site):
    (site.folder / "notes.txt").write_text("nothing")
    (site.folder / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\0")
    stranger = pydicom.dcmread(next((site.folder / "axial").iterdir()))
    stranger.SeriesInstanceUID = "../../elsewhere"
    stranger.save_as(site.folder / "hostile.dcm")
    SERIES.write_series(site.root / "beyond", SERIES.noise())
    os.symlink(site.root / "beyond", site.folder / "link")
    os.symlink(next((site.root / "beyond").iterdir()), site.folder / "file")
    assert site.store.list_images() == sorted(site.series)
    with pytest.raises(CohortError, match="SeriesInstanceUID"):
        Archive(str(site.folder)).fetch("../../elsewhere", site.root / "brought")


def test_several_objects_are_stored_all_or_none(site):
    before = sorted(site.folder.rglob("*"))
    whole = pydicom.dcmread(next((site.folder / "axial").iterdir()))
    broken = pydicom.dcmread(next((site.folder / "axial").iterdir()))
    broken.Rows = "many"
    with pytest.raises(RunError, match="read and written"):
        Archive(str(site.folder)).store(whole, broken)
    assert [path for path in sorted(site.folder.rglob("*")) if path not in before] == [site.folder / "fedxai"]


def test_a_file_is_read_again_only_when_it_has_changed(site, monkeypatch):
    folder = DicomFolder(site.folder)
    assert len(folder.search_for_series(search_filters={"Modality": "MR"})) == 2
    read = []
    monkeypatch.setattr("fedxai.label.dicom_folder.pydicom.dcmread", lambda path, **_: read.append(path))
    folder.search_for_series(search_filters={"Modality": "MR"})
    assert read == []


def test_a_folder_with_images_beside_is_one_of_images(site, tmp_path):
    assert reads_series(str(site.folder))
    nib.save(nib.Nifti1Image(drawn(), np.eye(4)), site.folder / "image.nii.gz")
    assert not reads_series(str(site.folder))
    (tmp_path / "empty").mkdir()
    assert not reads_series(str(tmp_path / "empty"))


def test_the_preflight_counts_the_series(site):
    found = studies(ServerSettings(studies=str(site.folder), model="m"), lambda: 3)
    assert (found.found, found.remedy) == ("2 series of CT, MR or PET slices in DICOM files", "")


def test_the_preflight_says_that_a_folder_of_dicom_holds_nothing_that_is_served(tmp_path):
    (tmp_path / "cut.dcm").write_bytes(bytes(128) + b"DICM" + b"cut")
    found = studies(ServerSettings(studies=str(tmp_path), model="m"), lambda: 3)
    assert not found.passed
    assert "CT, MR or PET slices" in found.remedy


def test_the_app_answers_for_a_series_as_for_the_image_that_it_came_from(
    untrained, cohort_3d, tmp_path, reading_app, monkeypatch
):
    from monailabel.config import settings

    monkeypatch.setattr(settings, "MONAI_LABEL_DICOMWEB_CACHE_PATH", str(tmp_path / "archive"))
    model = untrained("brain_mri_lesion_classification")
    case = cohort_3d["classification"].cases("test")[0]
    files = SERIES.write_volume(tmp_path / "export", nib.load(case.image), axes="PIR")
    app = reading_app(tmp_path / "room", model=model, images=files)
    (image,) = app.datastore().list_images()
    told = app.infer({"model": "prediction", "image": image})["params"]
    served = ModelWatch(str(model), device="cpu").current()
    expected = served.logits(served.prepare(case.image)).softmax(dim=0).tolist()
    assert list(told["probabilities"].values()) == pytest.approx(expected, rel=1e-4)
    answer = app.infer(
        {"model": "saliency", "image": image, "saliency_method": "saliency", "result_extension": ".nii.gz"}
    )
    assert nib.load(answer["file"]).shape == nib.load(app.datastore().get_image_uri(image)).shape
    assert app.feedback.folder == tmp_path / "archive" / "feedback"
