# SPDX-License-Identifier: Apache-2.0
"""A hospital's radiographs at the desk: asked about, outlined, explained and taught, as pictures of a cohort are."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from PIL import Image
from scipy.special import softmax
from typer.testing import CliRunner

from fedxai.bundle import Bundle
from fedxai.cli import app as cli
from fedxai.errors import CohortError
from fedxai.intake.cohort import Cohort
from fedxai.intake.dicom.plan import Choice
from fedxai.intake.dicom.take import DicomSettings, take_dicom
from fedxai.intake.table import Columns
from fedxai.intake.taking import IntakeSettings
from fedxai.label import names
from fedxai.label.access import LOCAL
from fedxai.label.archive import Archive
from fedxai.label.dicom_folder import DicomFolder
from fedxai.label.doctor import studies
from fedxai.label.grids import read_image, write_answer
from fedxai.label.refusals import NotFound
from fedxai.label.settings import ServerSettings
from fedxai.settings import TrainSettings
from fedxai.train.engine import SiteTrainer

pytest.importorskip("monailabel", reason="no MONAI Label here: pip install 'fedxai-med[label]'")

PICTURES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("dicom_pictures.py"))))
SERIES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("dicom_series.py"))))
WORKSTATION = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("workstation.py"))))
MODEL = "chest_xray_pneumonia_classification"
PATIENTS = 8


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """Radiographs that a PACS exported, and the table of their classes."""
    folder = tmp_path_factory.mktemp("export")
    for number in range(PATIENTS):
        pixels = PICTURES.noise(12, seed=number)
        PICTURES.write_picture(folder / "dicom" / f"{number}", "DX", pixels, patient=f"P{number}", PixelSpacing=[1, 1])
    lines = ["patient,label", *(f"P{number},{number % 2}" for number in range(PATIENTS))]
    (folder / "table.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture
def site(export, untrained, tmp_path, reading_app, monkeypatch):
    """The cohort that the intake made of them, and the desk on the same files."""
    from monailabel.config import settings

    monkeypatch.setattr(settings, "MONAI_LABEL_DICOMWEB_CACHE_PATH", str(tmp_path / "archive"))
    monkeypatch.setattr("fedxai.label.dicom_folder._FRESH", 0.0)
    intake = IntakeSettings(validation=0.25, test=0.25, class_names=["normal", "pneumonia"])
    take_dicom(
        export / "dicom",
        export / "table.csv",
        tmp_path / "cohort",
        settings=DicomSettings(choice=Choice(keyed_by="patient"), intake=intake),
        columns=Columns(image="patient"),
    )
    app = reading_app(tmp_path / "room", model=untrained(MODEL), images=sorted((export / "dicom").iterdir()))
    monkeypatch.setattr("monailabel.interfaces.utils.app.app_instance", lambda: app)
    folder = tmp_path / "room" / "studies"
    return SimpleNamespace(app=app, store=app.datastore(), cohort=tmp_path / "cohort", folder=folder, root=tmp_path)


def image_of(site, case):
    """The series that a case was made of: the PNGs are alike to the byte."""
    found = [one for one in site.store.list_images() if Path(site.store.get_image_uri(one)).read_bytes() == case]
    (image,) = found
    return image


def source_of(site, image):
    files = (pydicom.dcmread(file) for file in site.folder.iterdir() if file.is_file())
    return next(ds for ds in files if ds.SeriesInstanceUID == image)


def stored(site):
    return [pydicom.dcmread(file) for file in sorted((site.folder / "fedxai").rglob("*.dcm"))]


def save(site, image, labels, reader="Rahman"):
    file = write_answer(labels, read_image(Path(site.store.get_image_uri(image))).affine, ".nrrd")
    segments = [{"name": "opacity", "idx": 1}, {"name": "effusion", "idx": 2}]
    site.store.save_label(image, str(file), "final", {"label_info": segments, "user": reader})
    file.unlink()


def test_the_probability_is_the_sites_evaluation_figure(site, untrained):
    cohort, bundle = Cohort.open(site.cohort), Bundle.open(untrained(MODEL))
    trainer = SiteTrainer(
        bundle=bundle, cases=cohort.splits(), site="here", settings=TrainSettings(threads=1), device="cpu"
    )
    trainer.load({name: value.numpy() for name, value in bundle.weights().items()})
    logits, _ = trainer.logits("test")
    for case, row in zip(cohort.cases("test"), softmax(logits, axis=1), strict=True):
        image = image_of(site, case.image.read_bytes())
        told = site.app.infer({"model": "prediction", "image": image})["params"]
        assert list(told["probabilities"].values()) == pytest.approx(row, abs=1e-6)


def test_a_region_is_a_seg_beside_its_picture_and_scores_the_next_saliency(site):
    image, labels = site.store.list_images()[0], PICTURES.marked()
    save(site, image, labels)
    (seg,) = stored(site)
    assert (seg.Modality, seg.ContentCreatorName.family_name) == ("SEG", "Rahman")
    assert np.array_equal(seg.pixel_array[0].T, labels[..., 0] == 1)
    assert seg.StudyInstanceUID == source_of(site, image).StudyInstanceUID
    (drawing,) = site.store.drawings(image)
    assert np.array_equal(drawing.labels, labels)
    assert site.store.get_labeled_images() == [image]
    told = site.app.infer({"model": "saliency", "image": image, "saliency_method": "saliency"})["params"]
    assert 0 < told["scores"]["relevance_mass"] < 1
    assert told["chance"]["relevance_mass"] == pytest.approx((labels > 0).mean(), abs=0.02)


def test_what_is_outlined_on_the_reading_page_is_a_seg(site):
    from fedxai.label.app import routes

    image = site.store.list_images()[1]
    shown = routes.show("saliency", image, method="saliency")
    assert len(shown["pictures"]) == 1
    line = {"picture": 0, "name": "opacity", "points": [[0.2, 0.25], [0.8, 0.25], [0.8, 0.5], [0.2, 0.5]]}
    routes.say(SimpleNamespace(user=LOCAL), image, {"outlines": [line], "agreement": 2})
    (seg,) = stored(site)
    inside = np.zeros((PICTURES.ROWS, PICTURES.COLUMNS))
    inside[10:20, 6:24] = 1
    assert np.array_equal(seg.pixel_array.reshape(inside.shape), inside)


def test_saliency_goes_beside_its_picture_in_colour_and_is_no_image(site):
    from fedxai.label.app import routes

    before = site.store.list_images()
    with pytest.raises(CohortError, match="take form capture"):
        routes.store("saliency", before[0], form="map", method="saliency")
    told = routes.store("saliency", before[0], form="capture", method="saliency")
    (capture,) = stored(site)
    assert (capture.SeriesInstanceUID, capture.Modality) == (told["series"], "OT")
    assert capture.pixel_array.shape == (PICTURES.ROWS, PICTURES.COLUMNS, 3)
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == source_of(site, before[0]).SOPInstanceUID
    assert site.store.list_images() == before


def test_what_was_drawn_here_and_elsewhere_is_the_region_of_the_cohorts_case(site):
    """Elsewhere by highdicom alone, which repeats the picture's PixelSpacing."""
    cases, labels = Cohort.open(site.cohort).cases("training")[:2], PICTURES.marked()
    here, there = (image_of(site, case.image.read_bytes()) for case in cases)
    save(site, here, labels)
    drawn = [("pneumonia", np.flip(labels, axis=0) == 1)]
    WORKSTATION.write_seg(site.folder / "theirs", [source_of(site, there)], drawn, reader="Stranger^A")
    line = ["label", "export", str(site.root / "archive"), str(site.cohort), "--dicomweb", str(site.folder)]
    told = CliRunner().invoke(cli, line)
    assert told.exit_code == 0, told.output
    assert told.output.startswith("2 images with feedback: 2 regions")
    first, second = Cohort.open(site.cohort).cases("training")[:2]
    assert np.array_equal(np.asarray(Image.open(first.region)).T > 0, labels[..., 0] > 0)
    assert np.array_equal(np.asarray(Image.open(second.region)).T > 0, drawn[0][1][..., 0])


def test_the_next_image_is_weighed_anew_when_another_workstation_draws_and_as_before_when_it_withdraws(
    site, monkeypatch
):
    image, labels, looked = site.store.list_images()[0], PICTURES.marked(), []
    save(site, image, labels)
    look = site.app.desk.look
    monkeypatch.setattr(site.app.desk, "look", lambda *args, **how: looked.append(args) or look(*args, **how))

    def weight():
        told = site.app.next_sample({"strategy": "saliency_disagrees_with_region"})
        assert told["id"] == image
        return told["weight"]

    alone = weight()
    theirs = site.folder / "theirs"
    WORKSTATION.write_seg(theirs, [source_of(site, image)], [("pneumonia", labels == 0)], reader="Stranger^A")
    assert weight() != alone
    theirs.unlink()
    assert weight() == alone
    assert len(looked) == 2


def test_a_series_that_is_refused_says_why_and_the_others_go_on(site):
    """Among them one with text burnt in: nothing of it is kept here."""
    burnt = PICTURES.write_picture(site.folder / "burnt", "DX", BurnedInAnnotation="YES")
    two = PICTURES.write_picture(site.folder / "first", "CR", StudyInstanceUID="1.2.3")
    PICTURES.write_picture(site.folder / "second", "CR", StudyInstanceUID="1.2.3", SeriesInstanceUID=two)
    refused = {burnt: "text is in the picture", two: "holds 2 pictures"}
    for image, why in refused.items():
        with pytest.raises(CohortError, match=why):
            site.store.get_image_uri(image)
    assert not list((site.root / "archive").rglob("*.png"))
    assert not list((site.root / "archive" / "series").glob("*"))
    chosen = site.app.next_sample({"strategy": "highest_uncertainty"})["id"]
    assert chosen in set(site.store.list_images()) - set(refused)
    told = site.app.infer({"model": "saliency", "image": chosen, "saliency_method": "expected_gradients"})
    assert told["params"]["method"] == "expected_gradients"


@pytest.mark.parametrize("allowed", ["", "true"])
def test_an_ultrasound_is_served_where_somebody_looked_at_the_pictures(
    allowed, untrained, reading_app, tmp_path, monkeypatch
):
    from monailabel.config import settings

    monkeypatch.setattr(settings, "MONAI_LABEL_DICOMWEB_CACHE_PATH", str(tmp_path / "archive"))
    image = PICTURES.write_picture(tmp_path / "us", "US", BurnedInAnnotation=None)
    app = reading_app(tmp_path / "room", model=untrained(MODEL), images=[tmp_path / "us"], allow_burned_in=allowed)
    if allowed:
        assert app.infer({"model": "prediction", "image": image})["params"]["probabilities"]
    else:
        with pytest.raises(CohortError, match="give --allow-burned-in"):
            app.datastore().get_image_uri(image)


def test_a_picture_that_was_let_in_once_is_judged_again_by_a_server_that_is_stricter(
    untrained, reading_app, tmp_path, monkeypatch
):
    from monailabel.config import settings

    monkeypatch.setattr(settings, "MONAI_LABEL_DICOMWEB_CACHE_PATH", str(tmp_path / "archive"))
    image = PICTURES.write_picture(tmp_path / "us", "US", BurnedInAnnotation=None)
    model = untrained(MODEL)
    first = reading_app(tmp_path / "first", model=model, images=[tmp_path / "us"], allow_burned_in="true")
    kept = first.datastore().get_image_uri(image)
    second = reading_app(tmp_path / "second", model=model, images=[tmp_path / "us"])
    assert Path(kept).is_file()
    for _ in range(2):
        with pytest.raises(CohortError, match="give --allow-burned-in"):
            second.datastore().get_image_uri(image)


def test_a_request_for_one_image_asks_the_archive_for_it_alone(site, monkeypatch):
    image, asked = site.store.list_images()[0], []
    search = DicomFolder.search_for_series
    monkeypatch.setattr(
        DicomFolder,
        "search_for_series",
        lambda folder, **question: asked.append(question["search_filters"]) or search(folder, **question),
    )
    assert names.image_id(image) == image
    with pytest.raises(NotFound):
        names.image_id("1.2.3")
    site.app.infer({"model": "prediction", "image": image})
    assert {tuple(question) for question in asked} == {("SeriesInstanceUID",)}


def test_each_model_is_offered_what_it_can_read_and_the_preflight_counts_it(site):
    SERIES.write_series(site.folder / "slices", SERIES.noise())
    assert len(site.store.list_images()) == PATIENTS
    assert len(Archive(str(site.folder)).images(["MR"])) == 1
    settings = ServerSettings(studies=str(site.folder), model="m")
    assert studies(settings, lambda: 2).found == f"{PATIENTS} series of radiographs or other pictures in DICOM files"
    assert studies(settings, lambda: 3).found == "1 series of CT, MR or PET slices in DICOM files"
