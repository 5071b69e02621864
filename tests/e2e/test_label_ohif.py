# SPDX-License-Identifier: Apache-2.0
"""OHIF as MONAI Label ships it, in a real browser on a real archive: the model run from its panel, its overlay seen.

With FEDXAI_PICTURES=docs/pictures and FEDXAI_MODEL=TRAINED_BUNDLE the documents' screenshots are taken anew.
"""

import io
import os
import runpy
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
import requests

from fedxai.intake.phantom_3d import make_phantom_3d

LABEL = Path(__file__).parents[1] / "label"
ORTHANC = SimpleNamespace(**runpy.run_path(str(LABEL / "orthanc.py")))
SERIES = SimpleNamespace(**runpy.run_path(str(LABEL / "dicom_series.py")))
DESK = SimpleNamespace(**runpy.run_path(str(LABEL / "orthanc_desk.py")))
CHROMIUM = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("chromium.py"))))
until = CHROMIUM.until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),  # patient with a loaded machine
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM.MISSING, reason=CHROMIUM.WHY),
    pytest.mark.skipif(ORTHANC.MISSING, reason=ORTHANC.WHY),
]
pytest.importorskip("selenium.webdriver", reason="no Selenium here: pip install selenium")
pytest.importorskip("monailabel", reason="no MONAI Label here: pip install 'fedxai-med[label]'")

FLAGS = (
    "--use-gl=angle",  # WebGL, which OHIF draws with, computed on the CPU
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--window-size=1400,900",
)
SHOWN = """
const volume = services.segmentationService.getLabelmapVolume('1');
if (!volume) return null;
return {
    values: Array.from(volume.voxelManager.getCompleteScalarDataArray()),
    dimensions: Array.from(volume.dimensions), origin: Array.from(volume.origin),
    direction: Array.from(volume.direction), spacing: Array.from(volume.spacing),
    names: Object.fromEntries(Object.values(services.segmentationService.getSegmentation('1').segments)
        .map(segment => [segment.label, segment.segmentIndex]))}"""
LOADED = """
const volumes = cornerstone.cache.getVolumes().filter(volume => volume.imageIds && volume.imageIds.length);
return volumes.length > 0 && volumes.every(volume => !volume.loadStatus || volume.loadStatus.loaded)"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory, repository):
    """Orthanc with one case twice, cut as axial and as sagittal slices, and a site's server."""
    import nibabel as nib

    folder = tmp_path_factory.mktemp("desk")
    cohort = make_phantom_3d(folder / "cohort", site="site-1", index=0, task="classification", cases=12)
    model = DESK.with_weights(repository / "bundles" / "brain_mri_lesion_classification", folder)
    case = cohort.cases("test")[0]
    with ORTHANC.running(folder) as orthanc:
        series, studies = {}, {}
        for name, axes in (("axial", "LPS"), ("sagittal", "PIR")):
            files = SERIES.write_volume(folder / name, nib.load(case.image), axes=axes, patient=name)
            orthanc.upload(files)
            header = pydicom.dcmread(files[0], stop_before_pixels=True)
            series[name], studies[name] = str(header.SeriesInstanceUID), str(header.StudyInstanceUID)
        with DESK.serving(folder / "server", ["--dicomweb", orthanc.dicomweb], model) as server:
            yield SimpleNamespace(case=case, orthanc=orthanc, server=server, series=series, studies=studies)


@pytest.fixture(scope="module")
def browser(desk, tmp_path_factory):
    """Chromium that has shown an annotator's token once, as a person would in the browser's own box."""
    with CHROMIUM.opened(tmp_path_factory.mktemp("profile"), *FLAGS) as driver:
        token = desk.server.tokens["annotator"]
        driver.get(desk.server.url.replace("http://", f"http://annotator:{token}@") + "/ohif/app-config.js")
        yield driver


def open_study(browser: Any, desk: Any, name: str) -> None:
    """Open a study in OHIF's MONAI Label mode, wait for its images, and connect the panel."""
    browser.get(f"{desk.server.url}/ohif/monai-label?StudyInstanceUIDs={desk.studies[name]}")
    until(lambda: browser.execute_script(LOADED), "the study")
    for button in browser.find_elements("css selector", "button"):
        if button.text == "Confirm and Hide":
            button.click()
    until(lambda: browser.find_element("css selector", ".settingsTable .actionButton"), "the panel").click()
    until(lambda: browser.find_elements("css selector", ".modelSelector select option"), "the list of models")
    time.sleep(2)  # the panel makes its empty label map a second later


def run_model(browser: Any, model: str) -> dict[str, Any]:
    """Choose a model in the panel, run it, and wait until its answer lies over the image."""
    selector = next(one for one in browser.find_elements("css selector", ".modelSelector") if one.is_displayed())
    options = selector.find_elements("css selector", "option")
    next(option for option in options if option.text.strip() == model).click()
    selector.find_element("css selector", "button").click()

    def filled() -> Any:
        shown = browser.execute_script(SHOWN)
        return shown if shown and any(shown["values"]) else None

    return until(filled, "the overlay")


def places_shown(shown: dict[str, Any]) -> np.ndarray:
    """Where OHIF's labelled voxels lie in the patient (LPS mm), by its own volume's geometry, and their values."""
    values = np.array(shown["values"]).reshape(shown["dimensions"], order="F")
    axes = np.array(shown["direction"]).reshape(3, 3) * np.array(shown["spacing"])[:, None]
    found = np.argwhere(values)
    places = np.array(shown["origin"]) + found @ axes
    return np.column_stack([places, values[tuple(found.T)]])


def places_answered(content: bytes, folder: Path) -> np.ndarray:
    """The same of the server's answer, by SimpleITK."""
    import SimpleITK as sitk

    path = folder / "answer.nrrd"
    path.write_bytes(content)
    image = sitk.ReadImage(str(path))
    values = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    found = np.argwhere(values)
    places = [image.TransformIndexToPhysicalPoint([int(i) for i in index]) for index in found]
    return np.column_stack([places, values[tuple(found.T)]])


def in_order(places: np.ndarray) -> np.ndarray:
    return places[np.lexsort(np.round(places[:, :3], 1).T)]


def coloured(picture: bytes) -> float:
    """Share of the pixels in the middle of a screenshot, where the image is, that are not grey."""
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    height, width = pixels.shape[:2]
    middle = pixels[height // 4 : -height // 4, width // 4 : -width // 4]
    return float((np.ptp(middle, axis=-1) > 24).mean())


def keep(picture: bytes, name: str) -> None:
    """Put a screenshot among the pictures of the documents, where that is asked for."""
    if folder := os.environ.get("FEDXAI_PICTURES"):
        Path(folder, name).write_bytes(picture)


def saliency_model(desk: Any) -> str:
    models = desk.server.told("GET", "/info/")["models"]
    return next(name for name, told in models.items() if "saliency" in name and told["type"] == "segmentation")


@pytest.mark.parametrize("name", ["axial", "sagittal"])
def test_the_overlay_lies_where_the_server_says(name: str, desk: Any, browser: Any, tmp_path: Path) -> None:
    """Every labelled voxel of OHIF's volume, in millimetres, against the answer that another client gets."""
    open_study(browser, desk, name)
    before = browser.get_screenshot_as_png()
    shown = run_model(browser, saliency_model(desk))
    time.sleep(2)
    after = browser.get_screenshot_as_png()
    if name == "axial":
        keep(after, "label_ohif_axial.png")
    assert coloured(after) > coloured(before) + 0.01
    answer = desk.server.ask(
        "POST",
        f"/infer/{saliency_model(desk)}?image={desk.series[name]}&output=image",
        data={"params": '{"result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": false}'},
    )
    assert answer.status_code == 200
    ohif, server = in_order(places_shown(shown)), in_order(places_answered(answer.content, tmp_path))
    assert len(ohif) == len(server) > 0
    np.testing.assert_allclose(ohif[:, :3], server[:, :3], atol=0.05)
    told = desk.server.told("GET", "/info/")["models"][saliency_model(desk)]["labels"]
    for label, value in told.items():  # OHIF numbers segments by the alphabet, and must keep them by name
        assert np.array_equal(server[:, 3] == value, ohif[:, 3] == shown["names"][label]), label


def answered(desk: Any, model: str, folder: Path) -> np.ndarray:
    """What a model answers for the axial series, (columns, rows, slices)."""
    import SimpleITK as sitk

    path = folder / f"{model}.nrrd"
    address = f"/infer/{model}?image={desk.series['axial']}&output=image"
    params = '{"saliency_method": "gradient_x_input"}'
    path.write_bytes(desk.server.ask("POST", address, data={"params": params}).content)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).transpose(2, 1, 0)


def test_the_answers_of_the_server_make_the_picture_of_the_document(desk: Any, tmp_path: Path) -> None:
    """Image with the region, bands, heat map in one plane: all of one grid, and the bands where the map is strong."""
    import nibabel as nib

    from fedxai.report.overlay import grey, magnitude, outlined, overlay, plane, strip, strongest

    image, region = (
        nib.load(path).as_reoriented(np.array([[0, -1], [1, -1], [2, 1]])).get_fdata()  # RAS to the series' LPS
        for path in (desk.case.image, desk.case.region)
    )
    bands, heat = answered(desk, "saliency", tmp_path), magnitude(answered(desk, "heat_map", tmp_path), image.shape)
    assert bands.shape == heat.shape == image.shape
    assert heat[bands == 3].mean() > heat[bands == 1].mean() > heat[bands == 0].mean()
    cut = (2, int(region.sum(axis=(0, 1)).argmax()))
    shown = [np.swapaxes(plane(one, cut), 0, 1)[None] for one in (image, region, bands / 3, heat)]
    background = grey(shown[0], None)
    tops = (1.0, strongest(heat))
    tiles = [outlined(background, shown[1][0])]
    tiles += [outlined(overlay(background, one[0], top), shown[1][0]) for one, top in zip(shown[2:], tops, strict=True)]
    picture = io.BytesIO()
    strip(tiles).quantize(128).save(picture, format="PNG", optimize=True)
    keep(picture.getvalue(), "label_bands.png")


def test_the_study_list_is_the_archives(desk: Any, browser: Any) -> None:
    browser.get(f"{desk.server.url}/ohif/")
    text = until(lambda: browser.find_element("css selector", "body").text, "the list")
    until(lambda: "2 Studies" in browser.find_element("css selector", "body").text.replace("\n", " "), "both studies")
    assert "axial" in browser.find_element("css selector", "body").text, text


def test_without_a_token_the_viewer_shows_nothing(desk: Any) -> None:
    for path in ("/ohif/", "/proxy/dicom/qido/studies", "/info/"):
        assert requests.get(desk.server.url + path, timeout=10).status_code == 401
