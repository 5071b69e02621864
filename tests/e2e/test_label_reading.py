# SPDX-License-Identifier: Apache-2.0
"""The desk's own reading page in a real browser: next case, image and bands, rating, class, comment; and its walls."""

import gzip
import os
import runpy
import shutil
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import requests

from fedxai.intake.phantom_3d import make_phantom_3d

DESK = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "label" / "orthanc_desk.py")))
CHROMIUM = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("chromium.py"))))
until = partial(CHROMIUM.until, patience=120.0)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),  # patient with a loaded machine
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM.MISSING, reason=CHROMIUM.WHY),
]
pytest.importorskip("selenium.webdriver", reason="no Selenium here: pip install selenium")
pytest.importorskip("monailabel", reason="no MONAI Label here: pip install 'fedxai-med[label]'")


@pytest.fixture(scope="module")
def desk(tmp_path_factory, repository):
    """A site's server on two volumes."""
    folder = tmp_path_factory.mktemp("reading")
    cohort = make_phantom_3d(folder / "cohort", site="site-1", index=0, task="classification", cases=12)
    (folder / "studies").mkdir()
    for case in cohort.cases("test")[:2]:
        shutil.copy(case.image, folder / "studies")
    model = DESK.with_weights(repository / "bundles" / "brain_mri_lesion_classification", folder)
    with DESK.serving(folder / "server", ["--studies", folder / "studies"], model) as server:
        yield server


@pytest.fixture(params=["annotator", "reader"])
def browser(desk, tmp_path, request):
    """Chromium on the page, after a person showed a token once in the browser's own box."""
    with CHROMIUM.opened(tmp_path, "--window-size=1200,900") as driver:
        token = desk.tokens[request.param]
        driver.get(desk.url.replace("http://", f"http://{request.param}:{token}@") + "/reading/page.css")
        driver.get(f"{desk.url}/reading/")
        yield driver


def find(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def next_case(browser: Any) -> None:
    until(lambda: find(browser, "#next").is_enabled() and find(browser, "#method").text, "the page")
    find(browser, "#next").click()
    until(lambda: find(browser, "#case").is_displayed(), "a case")


def severe(browser: Any) -> list[str]:
    return [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"]


@pytest.mark.parametrize("browser", ["annotator"], indirect=True)
def test_a_reader_looks_rates_corrects_and_comments(desk: Any, browser: Any) -> None:
    next_case(browser)
    assert "annotator (annotator)" in find(browser, "#who").text
    first = find(browser, "#picture").get_attribute("src")
    browser.execute_script(
        "const s = document.getElementById('slice'); s.value = 0; s.dispatchEvent(new Event('input'))"
    )
    assert find(browser, "#place").text.startswith("1 of ")
    assert find(browser, "#picture").get_attribute("src") != first  # it began where the bands are strongest
    width, height = browser.execute_script(
        "const shown = document.getElementById('picture'); return [shown.naturalWidth, shown.naturalHeight]"
    )
    assert width > 2 * height > 0  # the image, and beside it the bands
    rows = find(browser, "#classes").text.splitlines()
    shares = [float(row.split()[-2]) for row in rows]
    assert (len(rows), sum(shares)) == (3, pytest.approx(100, abs=0.2))
    find(browser, "input[value='3']").click()
    find(browser, "#right select").send_keys("rimmed")
    find(browser, "textarea").send_keys("at the rim <b>")
    find(browser, "#save").click()
    until(lambda: find(browser, "#message").text.startswith("Saved"), "the answer")
    images = list(desk.told("GET", "/datastore/?output=all")["objects"])
    told = [desk.told("GET", f"/feedback/image?image={image}")["opinions"] for image in images]
    (opinion,) = [opinion for opinions in told for opinion in opinions if opinion["comment"]]
    assert (opinion["reader"], opinion["agreement"], opinion["label"]) == ("annotator", 3, "rimmed")
    assert opinion["comment"] == "at the rim <b>"
    find(browser, "#next").click()  # what was said of the first is not carried over to the second
    until(lambda: find(browser, "#next").is_enabled() and find(browser, "#case").is_displayed(), "the next case")
    assert not browser.find_elements("css selector", "input:checked")
    find(browser, "#save").click()
    until(lambda: "must say something" in find(browser, "#message").text, "the refusal")
    assert [line for line in severe(browser) if "400" not in line] == []


@pytest.mark.parametrize("browser", ["annotator"], indirect=True)
def test_a_reader_outlines_what_matters_and_is_told_e(desk: Any, browser: Any) -> None:
    from selenium.webdriver import ActionChains

    image = sorted(desk.told("GET", "/datastore/?output=all")["objects"])[1]
    browser.get(f"{desk.url}/reading/?image={image}")
    until(lambda: find(browser, "#case").is_displayed() and find(browser, "#save").is_enabled(), "the case")
    canvas = find(browser, "#drawing")
    width, height = canvas.size["width"], canvas.size["height"]
    assert width < find(browser, "#picture").size["width"] / 2 + 1
    for radius in (0.45, 0.25):
        pen = ActionChains(browser, duration=20)
        for number, angle in enumerate(np.arange(24) * np.pi / 12):
            place = round(radius * width * np.cos(angle)), round(radius * height * np.sin(angle))
            pen.move_to_element_with_offset(canvas, *place)
            pen = pen.click_and_hold() if number == 0 else pen
        pen.release().perform()
        if radius > 0.25:
            find(browser, "#undo").click()
    find(browser, "input[value='2']").click()
    find(browser, "#save").click()
    until(lambda: "chance" in find(browser, "#message").text, "E")
    if folder := os.environ.get("FEDXAI_PICTURES"):
        Path(folder, "label_reading.png").write_bytes(browser.get_screenshot_as_png())
    opinion = desk.told("GET", f"/feedback/image?image={image}")["opinions"][-1]
    assert (opinion["reader"], opinion["names"], opinion["agreement"]) == ("annotator", {"lesion": 1}, 2)
    saved = desk.ask("GET", f"/datastore/label?label={image}&tag=final").content
    labels = np.asanyarray(nibabel.Nifti1Image.from_bytes(gzip.decompress(saved)).dataobj)
    (slices,) = np.nonzero(labels.any(axis=(0, 1)))
    assert len(slices) in (1, 2)  # of so many, more than are shown
    assert labels[..., slices[0]].mean() == pytest.approx(np.pi * 0.25**2, abs=0.03)
    assert severe(browser) == []


@pytest.mark.parametrize("browser", ["reader"], indirect=True)
def test_who_may_only_read_looks_and_nothing_but_the_pages_own_script_runs(desk: Any, browser: Any) -> None:
    next_case(browser)
    assert not find(browser, "#said").is_displayed()
    assert not find(browser, "#drawing").is_displayed()
    assert severe(browser) == []
    for inserted in ("textContent = 'window.ran = true'", "src = 'data:text/javascript,window.ran = true'"):
        browser.execute_script(
            f"const s = document.createElement('script'); s.{inserted}; document.body.append(s); return 0"
        )
    time.sleep(0.5)
    assert browser.execute_script("return window.ran === undefined")
    assert "Content Security Policy" in " ".join(severe(browser))


def test_without_a_token_there_is_no_page_and_a_reader_saves_nothing(desk: Any) -> None:
    for path in ("/reading/", "/reading/page.js", "/reading/page.css"):
        assert requests.get(desk.url + path, timeout=10).status_code == 401
    (image, _) = desk.told("GET", "/datastore/?output=all")["objects"]
    assert desk.ask("PUT", f"/feedback/image?image={image}", role="reader", json={"agreement": 1}).status_code == 403
    for query, status in ((f"saliency/pictures?image={image}&method=tea", 400), ("saliency/pictures?image=x", 404)):
        assert desk.ask("POST", f"/infer/{query}", role="reader").status_code == status
    assert desk.ask("POST", f"/infer/prediction/pictures?image={image}", role="reader").status_code == 422
    assert desk.ask("GET", "/reading/index.html", role="reader").status_code == 422
    log = (desk.state / "logs" / "access.log").read_text()
    assert "POST /infer/{model}/pictures 200" in log
    assert image not in log
