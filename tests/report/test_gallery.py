# SPDX-License-Identifier: Apache-2.0
"""The in-site gallery: marked, bounded, spread over classes and errors, replaced as a whole."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fedxai.errors import RunError, SettingsError
from fedxai.records import MethodSummary, Task
from fedxai.report.gallery import Gallery
from fedxai.report.reading import explained_quantity

METHODS = ("saliency", "grad_cam")
SummaryOf = Callable[[str, float, int], MethodSummary]


def case(index: int, *, label: int = 0, predicted: int = 0, shape: tuple[int, ...] = (1, 20, 16), **more: Any) -> Any:
    generator = np.random.default_rng(index)
    region = np.zeros((1, *shape[1:]), bool)
    region[..., 4:9, 3:8] = True
    fields = {
        "index": index,
        "image": generator.random(shape, dtype=np.float32),
        "region": region,
        "maps": {name: generator.normal(size=(1, *shape[1:])).astype(np.float32) for name in METHODS},
        "label": label,
        "present": True,
        "predicted": predicted,
        "target": predicted,
        "probabilities": [0.7, 0.2, 0.1],
        "scores": {name: {"relevance_mass": 0.42, "pointing_game": 1.0} for name in METHODS},
    }
    return SimpleNamespace(**{**fields, **more})


def gallery(folder: Path, **more: Any) -> Gallery:
    return Gallery(folder, site="site-1", class_names=["<a>", "b", "c"], methods=METHODS, **more)


def pictures(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def of_case(index: int) -> list[str]:
    return [f"cases/{index:05d}/{name}.png" for name in ("grad_cam", "image", "saliency")]


def page(folder: Path, name: str = "index") -> str:
    return (folder / f"{name}.html").read_text(encoding="utf-8")


def test_page_says_that_it_never_leaves_the_site_and_shows_each_case(tmp_path: Path) -> None:
    with gallery(tmp_path / "g") as g:
        g.add(case(0))
        g.add(case(1, label=1, predicted=2))
    for name in ("index", "methods", "reading"):
        text = page(tmp_path / "g", name)
        assert "This page never leaves the site" in text
        assert "<script" not in text
        assert "http" not in text.replace("http-equiv", "")
    for name in ("index", "methods"):
        text = page(tmp_path / "g", name)
        assert "&lt;a&gt;" in text
        assert "<a>" not in text
        assert "predicted right" in text
        assert "predicted c" in text
        assert "E 0.420, chance 0.078" in text  # 25 of 320 pixels
    assert "No E is trustworthy by itself" in page(tmp_path / "g", "reading")
    assert pictures(tmp_path / "g") == of_case(0) + of_case(1)


@pytest.mark.parametrize("target", ["predicted", "label"])
@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_the_reading_page_says_what_is_explained(tmp_path: Path, task: Task, target: str) -> None:
    with gallery(tmp_path / "g") as g:
        g.add(case(0))
        g.conclude([], explained=explained_quantity(task, target))
    named = {"predicted": "the logit of the predicted class", "label": "the logit of the true class"}[target]
    summed = "the summed logit of a class over the voxels segmented as that class"
    expected = named if task == "classification" else summed
    assert f"Explained here is {expected}:" in page(tmp_path / "g", "reading")


def test_each_picture_is_the_image_with_or_without_one_map(tmp_path: Path) -> None:
    with gallery(tmp_path / "g") as g:
        g.add(case(0))
    for name in of_case(0):
        with Image.open(tmp_path / "g" / name) as picture:
            assert picture.mode == "RGB"
            assert picture.size == (230, 288)
            assert picture.info == {}


def test_never_more_than_the_limit_and_rare_kinds_find_room(tmp_path: Path) -> None:
    with gallery(tmp_path / "g", limit=8) as g:
        for index in range(60):
            g.add(case(index))
        for index in range(60, 80):
            g.add(case(index, label=1, predicted=1))
        g.add(case(80, label=1, predicted=0))
        g.add(case(81, label=2, predicted=0))
    kinds = Counter()
    for folder in (tmp_path / "g" / "cases").iterdir():
        index = int(folder.name)
        kinds["a" if index < 60 else "b" if index < 80 else str(index)] += 1
    assert sum(kinds.values()) == 8
    assert kinds["80"] == kinds["81"] == 1
    assert {kinds["a"], kinds["b"]} == {3}
    assert "8 of the 82 cases explained" in page(tmp_path / "g")


def test_a_class_that_the_case_does_not_have_is_marked_so_and_left_out_where_it_is_not_found_either(
    tmp_path: Path,
) -> None:
    """A case of a segmentation comes once for each class."""
    nothing = {name: np.zeros((1, 20, 16), np.float32) for name in METHODS}
    with gallery(tmp_path / "g", by_class=True) as g:
        g.add(case(0, label=1, predicted=1))
        g.add(case(1, label=2, predicted=0, present=False, region=None, scores={}))
        g.add(case(2, label=2, predicted=0, present=False, region=None, scores={}, maps=nothing))
    text = page(tmp_path / "g")
    assert text.count('<span class="tag absent">not in this case</span>') == 1
    assert 'data-class="2" data-answer="absent"' in text
    assert text.count('data-answer="wrong"') == 1, "in the style, of no case"
    assert "predicted &lt;a&gt;" not in text
    assert "2 of the 3 pairs of case and class explained here" in text
    assert pictures(tmp_path / "g") == of_case(0) + of_case(1)


def test_a_gallery_of_nothing_but_absent_classes_says_so(tmp_path: Path) -> None:
    with gallery(tmp_path / "g") as g:
        g.add(case(0, present=False, region=None, scores={}, maps={}))
    for name in ("index", "methods"):
        assert "Nothing to show: no class that was asked about is in its case" in page(tmp_path / "g", name)


def test_classes_that_cases_do_not_have_take_no_room_of_errors(tmp_path: Path) -> None:
    with gallery(tmp_path / "g", limit=2) as g:
        for index in range(4):
            g.add(case(index, present=False, region=None, scores={}))
        g.add(case(4, predicted=1))
    assert pictures(tmp_path / "g") == of_case(0) + of_case(4)


def test_it_holds_no_pixels(tmp_path: Path) -> None:
    with gallery(tmp_path / "g") as g:
        g.add(case(0))
        held = [value for entry in g._entries for value in vars(entry).values()]
        assert not any(isinstance(value, np.ndarray) for value in held)


@pytest.mark.parametrize("shape", [(3, 20, 16), (1, 7, 7), (1, 40, 11)])
def test_colour_and_odd_sizes_are_shown(shape: tuple[int, ...], tmp_path: Path) -> None:
    with gallery(tmp_path / "g") as g:
        g.add(case(0, shape=shape))
    assert "slices" not in page(tmp_path / "g")
    assert pictures(tmp_path / "g") == of_case(0)


def test_a_volume_is_shown_in_three_planes_through_its_region(tmp_path: Path) -> None:
    volume = case(0, shape=(1, 6, 20, 16))
    volume.region[:, 0] = False
    with gallery(tmp_path / "g") as g:
        g.add(volume)
        g.add(case(1, shape=(1, 6, 20, 16), region=None))
    assert "slices 1, 4, 3 through the region" in page(tmp_path / "g")
    assert "slices 3, 10, 8 through the middle" in page(tmp_path / "g")
    with Image.open(tmp_path / "g" / "cases" / "00000" / "image.png") as picture:
        assert picture.size == (230 + 288 + 288 + 2 * 8, 288)


@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_flat_images_and_empty_maps_are_shown(fill: float, tmp_path: Path) -> None:
    blank: NDArray[np.float32] = np.full((1, 20, 16), fill, np.float32)
    with gallery(tmp_path / "g") as g:
        g.add(case(0, image=np.zeros((1, 20, 16)), maps={"saliency": blank}, region=None, scores={}))
    assert "no region" in page(tmp_path / "g")


def test_undefined_scores_are_a_dash(tmp_path: Path) -> None:
    with gallery(tmp_path / "g") as g:
        g.add(case(0, scores={"saliency": {"relevance_mass": float("nan"), "pointing_game": None}}))
    text = page(tmp_path / "g")
    assert "E –, chance 0.078" in text
    assert "points" not in text
    assert "nan" not in text.lower()


def test_closing_replaces_the_earlier_gallery_whole(tmp_path: Path) -> None:
    for index in (0, 1):
        with gallery(tmp_path / "g") as g:
            g.add(case(index))
            assert pictures(tmp_path / "g") == ([] if index == 0 else of_case(0))
    assert pictures(tmp_path / "g") == of_case(1)
    assert [path.name for path in tmp_path.iterdir()] == ["g"]


def explain_and_fail(folder: Path) -> None:
    with gallery(folder) as g:
        g.add(case(1))
        raise RuntimeError("a mistake while explaining")


def test_an_error_inside_keeps_the_earlier_gallery(tmp_path: Path) -> None:
    with gallery(tmp_path / "g") as g:
        g.add(case(0))
    before = page(tmp_path / "g")
    with pytest.raises(RuntimeError, match="a mistake while explaining"):
        explain_and_fail(tmp_path / "g")
    assert page(tmp_path / "g") == before
    assert pictures(tmp_path / "g") == of_case(0)
    assert [path.name for path in tmp_path.iterdir()] == ["g"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(RunError, match="no space left on device; make room"), gallery(tmp_path / "g") as g:
        g.add(case(0))
    assert list(tmp_path.iterdir()) == []


def test_no_case_gives_a_page_that_says_so(tmp_path: Path) -> None:
    with gallery(tmp_path / "g"):
        pass
    assert "No case was explained." in page(tmp_path / "g")


def test_limit_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="gallery limit must be at least 1, got 0"):
        gallery(tmp_path / "g", limit=0)
    assert list(tmp_path.iterdir()) == []


def test_the_verdict_stands_beside_each_map_once_it_is_known(summary_of: SummaryOf, tmp_path: Path) -> None:
    with gallery(tmp_path / "g") as g:
        g.add(case(0))
        g.conclude([summary_of(name, 0.4, 40) for name in METHODS])
    assert page(tmp_path / "g").count('title="trust: failed"') == 1
    text = page(tmp_path / "g", "methods")
    assert "✕ failed: faithfulness" in text
    assert "0.400" in text


def test_without_trust_tests_the_methods_page_says_that_none_ran(summary_of: SummaryOf, tmp_path: Path) -> None:
    untested = [summary_of(name, 0.4, 40).model_copy(update={"trust": []}) for name in METHODS]
    with gallery(tmp_path / "g") as g:
        g.add(case(0))
        g.conclude(untested)
    assert "no trust test ran" in page(tmp_path / "g", "methods")
    assert "trust:" not in page(tmp_path / "g")


def test_the_images_file_is_named_where_it_is_told(tmp_path: Path) -> None:
    with gallery(tmp_path / "g", images=["images/first.png", "images/second.png"]) as g:
        g.add(case(1))
    assert "case 1 · images/second.png" in page(tmp_path / "g")
