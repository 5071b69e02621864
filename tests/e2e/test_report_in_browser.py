# SPDX-License-Identifier: Apache-2.0
"""The pages as a person sees them: opened from disk in Chromium, wide and narrow, and printed."""

import base64
import importlib.util
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import pytest

from fedxai.report.comparison import write_comparison
from fedxai.report.gallery import Gallery
from fedxai.report.run_report import write_report

CHROMIUM = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("chromium.py"))))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM.MISSING, reason=CHROMIUM.WHY),
]
pytest.importorskip("selenium.webdriver", reason="no Selenium here: pip install selenium")

Browser: TypeAlias = Any  # webdriver.Chrome, where Selenium is installed

BROKEN_IMAGES = "return [...document.images].filter(i => !i.complete || i.naturalWidth === 0).map(i => i.alt)"
ADDRESSES = "return performance.getEntriesByType('resource').map(entry => new URL(entry.name).protocol)"
DECODE_IMAGES = """
const decoded = [...document.images].map(image => image.decode().catch(() => 0));
Promise.all(decoded).then(arguments[0])"""
RIGHT_EDGES = """
const table = [...document.querySelectorAll('#course table')].at(-2);
const cells = [...table.querySelectorAll('tbody tr td:nth-child(4)')];
return cells.map(cell => Math.round(cell.getBoundingClientRect().right))"""
SCROLLED_TABLES = """
const boxes = [...document.querySelectorAll('.scroll')];
return boxes.filter(box => box.scrollWidth > box.clientWidth).map(box => box.innerText.slice(0, 60))"""
TOO_WIDE = """
const limit = document.documentElement.clientWidth;
return document.documentElement.scrollWidth > limit || document.body.scrollWidth > limit"""


@pytest.fixture(scope="module")
def factory() -> ModuleType:
    """The runs that the tests of the report use."""
    path = Path(__file__).parents[1] / "report" / "conftest.py"
    spec = importlib.util.spec_from_file_location("report_factory", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(factory: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    names = ("run", "partial", "long_names", "comparison", "gallery", "methods", "reading", "volumes")
    partial = factory.run_summary().model_copy(update={"final": [], "rounds": []})
    run = factory.run_summary()
    long_name = "university-hospital-of-a-rather-long-town-name_radiology-dept.01"
    sites = [run.sites[0].model_copy(update={"name": long_name}), *run.sites[1:]]
    final = [model.model_copy(update={"by_construction": True}) for model in run.final]
    long_names = run.model_copy(update={"sites": sites, "final": final, "notes": ["one-unbroken-word" * 12]})
    for name, shape in (("gallery", (1, 48, 40)), ("volumes", (1, 20, 48, 40))):
        with Gallery(folder / name, site=long_name, class_names=factory.CLASSES, methods=factory.METHODS) as gallery:
            for index in range(6):
                gallery.add(explained_case(index, shape))
            gallery.conclude([factory.method_summary(method, 0.3, 40) for method in factory.METHODS])
    return dict(
        zip(
            names,
            (
                write_report(run, folder / "run"),
                write_report(partial, folder / "partial"),
                write_report(long_names, folder / "long_names"),
                write_comparison(factory.comparison_of(3), folder / "comparison"),
                folder / "gallery" / "index.html",
                folder / "gallery" / "methods.html",
                folder / "gallery" / "reading.html",
                folder / "volumes" / "index.html",
            ),
            strict=True,
        )
    )


def explained_case(index: int, shape: tuple[int, ...]) -> SimpleNamespace:
    """Every second case is wrong; E of saliency rises with the index, from below chance; Grad-CAM's falls."""
    image = np.random.default_rng(index).random(shape, dtype=np.float32)
    maps = dict.fromkeys(("saliency", "gradient_x_input", "grad_cam"), image[0])
    e = {"saliency": 0.05 + 0.1 * index, "gradient_x_input": None, "grad_cam": 0.9 - 0.1 * index}
    return SimpleNamespace(
        index=index,
        image=image,
        region=image > 0.9,
        maps=maps,
        label=index // 2,
        present=True,
        predicted=index // 2 if index % 2 else (index // 2 + 1) % 3,
        target=0,
        probabilities=[0.2, 0.7, 0.1],
        scores={name: {"relevance_mass": value, "pointing_game": 1.0} for name, value in e.items()},
    )


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with CHROMIUM.opened(tmp_path_factory.mktemp("profile"), "--disable-gpu") as driver:
        yield driver


def open_page(browser: Browser, page: Path, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get_log("browser")
    browser.get(page.as_uri())
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    browser.execute_async_script(DECODE_IMAGES)


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize(
    "name", ["run", "partial", "long_names", "comparison", "gallery", "methods", "reading", "volumes"]
)
def test_page_shows_every_image_fits_its_width_and_asks_for_nothing(
    name: str, width: int, pages: dict[str, Path], browser: Browser
) -> None:
    open_page(browser, pages[name], width)
    assert browser.execute_script("return window.innerWidth") == width
    assert browser.execute_script(BROKEN_IMAGES) == []
    assert not browser.execute_script(TOO_WIDE)
    own = name in {"gallery", "methods", "reading", "volumes"}
    assert set(browser.execute_script(ADDRESSES)) <= {"file:" if own else "data:"}
    assert browser.get_log("browser") == []


SHOWN_CASES = """
const shown = [...document.querySelectorAll('.case')].filter(c => c.offsetParent !== null);
const place = c => { const box = c.getBoundingClientRect(); return 10000 * Math.round(box.top) + box.left; };
shown.sort((a, b) => place(a) - place(b));
return shown.map(c => Number(c.querySelector('.verdict .soft').innerText.match(/case (\\d+)/)[1]))"""


def press(browser: Browser, *choices: str) -> list[int]:
    """The cases that stand in the gallery, in reading order, after these buttons."""
    for choice in choices:
        browser.find_element("css selector", f'label[for="{choice}"]').click()
    return browser.execute_script(SHOWN_CASES)


def test_gallery_is_filtered_by_class_answer_and_score_without_a_script(
    pages: dict[str, Path], browser: Browser
) -> None:
    open_page(browser, pages["gallery"], 1200)
    assert press(browser) == [0, 1, 2, 3, 4, 5]
    assert press(browser, "class-1") == [2, 3]
    assert press(browser, "answer-wrong") == [2]
    assert press(browser, "class-all") == [0, 2, 4]
    assert press(browser, "answer-all", "method-0", "score-below") == [0]
    assert press(browser, "score-all") == [0, 1, 2, 3, 4, 5]


def test_gallery_is_sorted_by_the_score_of_the_shown_map(pages: dict[str, Path], browser: Browser) -> None:
    open_page(browser, pages["gallery"], 1200)
    assert press(browser, "method-0", "sort-high") == [5, 4, 3, 2, 1, 0]
    assert press(browser, "method-2") == [0, 1, 2, 3, 4, 5]
    assert press(browser, "sort-low") == [5, 4, 3, 2, 1, 0]
    tiles = [tile for tile in browser.find_elements("css selector", ".tile[data-method]") if tile.is_displayed()]
    assert {tile.text.split("\n")[0] for tile in tiles} == {"Grad-CAM ✕ failed"}


def test_headings_of_the_run_are_visible_in_order(pages: dict[str, Path], browser: Browser) -> None:
    open_page(browser, pages["run"], 1200)
    headings = [h for h in browser.find_elements("css selector", "h1, h2") if h.is_displayed()]
    assert [heading.text for heading in headings] == [
        "Brain MRI tumour classification",
        "Diagnosis",
        "Where the model looks",
        "What E says, and what it does not",
        "What left the sites",
        "Course of the run",
        "Reproduce",
    ]
    assert len(browser.find_elements("css selector", "img")) == 12


def test_boxes_of_a_run_name_an_alarm_and_an_e_won_by_construction(pages: dict[str, Path], browser: Browser) -> None:
    open_page(browser, pages["run"], 1200)
    boxes = [box.text for box in browser.find_elements("css selector", ".warn") if box.is_displayed()]
    assert [text for text in boxes if text.startswith("Shortcut alarm: site-3, glioma, corner 0-4.")]
    assert not [text for text in boxes if "won by construction" in text]
    open_page(browser, pages["long_names"], 1200)
    boxes = [box.text for box in browser.find_elements("css selector", ".warn") if box.is_displayed()]
    assert [text for text in boxes if text.startswith("E is won by construction: best model (round 5).")]


def test_tables_of_a_usual_run_need_no_scrolling_on_a_desk(pages: dict[str, Path], browser: Browser) -> None:
    open_page(browser, pages["run"], 1200)
    assert browser.execute_script(SCROLLED_TABLES) == []


def test_numbers_of_a_column_stand_under_each_other(pages: dict[str, Path], browser: Browser) -> None:
    open_page(browser, pages["run"], 1200)
    edges = browser.execute_script(RIGHT_EDGES)
    assert len(edges) == 6
    assert len(set(edges)) == 1


@pytest.mark.parametrize("name", ["run", "comparison", "gallery", "methods", "reading"])
def test_page_prints(name: str, pages: dict[str, Path], browser: Browser) -> None:
    open_page(browser, pages[name], 1200)
    printed = base64.b64decode(browser.print_page())
    assert printed.startswith(b"%PDF")
    assert len(printed) > 20_000


def test_no_script_can_run_in_the_page(pages: dict[str, Path], browser: Browser, tmp_path: Path) -> None:
    text = pages["run"].read_text(encoding="utf-8")
    spoiled = tmp_path / "spoiled.html"
    spoiled.write_text(text.replace("<main>", "<main><script>window.ran = true</script>"), encoding="utf-8")
    open_page(browser, spoiled, 1200)
    assert browser.execute_script("return window.ran === undefined")
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))
