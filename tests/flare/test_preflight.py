# SPDX-License-Identifier: Apache-2.0
"""What would end a run is said before anything is written, with the site and the file: the person owns the folders."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from fedxai.bundle import Bundle
from fedxai.errors import FedxaiError, SettingsError
from fedxai.flare.comparison import SystemsComparison
from fedxai.flare.kit import edit_json
from fedxai.flare.simulate import run_job
from fedxai.flare.site import Site
from fedxai.settings import TrainSettings

BUNDLE = "brain_mri_tumor_classification"


@pytest.fixture
def cohorts(phantom_root, tmp_path) -> Path:
    return shutil.copytree(phantom_root, tmp_path / "cohorts")


@pytest.fixture
def refused(repository, tmp_path):
    """The sentence of a run that was not started, and left nothing."""

    def run(out: Path | None = None, **options) -> str:
        out = out or tmp_path / "run"
        with pytest.raises(FedxaiError) as caught:
            run_job(repository / "jobs" / "fedxai", out=out, **options)
        assert not out.exists()
        return str(caught.value)

    return run


def change(cohort: Path, changed) -> None:
    path = cohort / "dataset.json"
    content = json.loads(path.read_text())
    for split in ("training", "validation", "test"):
        content[split] = changed(split, content[split])
    path.write_text(json.dumps(content))


def without(lacking: dict[str, int]):
    """That class has no validation case at that site; the next one has them."""

    def moved(split: str, cases: list[dict], label: int) -> list[dict]:
        there = split == "validation"
        return [{**case, "label": (label + 1) % 3} if there and case["label"] == label else case for case in cases]

    def spoil(cohorts: Path) -> None:
        for site, label in lacking.items():
            change(cohorts / site, lambda split, cases, label=label: moved(split, cases, label))

    return spoil


def spoil_classes(cohorts: Path) -> None:
    path = cohorts / "site-2" / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "labels": {"0": "normal", "1": "pneumonia"}}))
    change(cohorts / "site-2", lambda _, cases: [{**case, "label": case["label"] % 2} for case in cases])


def spoil_order(cohorts: Path) -> None:
    path = cohorts / "site-2" / "dataset.json"
    labels = {"0": "Glioma", "1": "meningioma", "2": "pituitary"}
    path.write_text(json.dumps({**json.loads(path.read_text()), "labels": labels}))


def spoil_mask(cohorts: Path) -> None:
    mask = min((cohorts / "site-2" / "regions").iterdir())
    Image.open(mask).resize((50, 60)).save(mask)


def spoil_image(cohorts: Path) -> None:
    image = min((cohorts / "site-2" / "images").iterdir())
    image.write_bytes(image.read_bytes()[:100])


def spoil_everything(cohorts: Path) -> None:
    change(cohorts / "site-2", lambda *_: [])


def spoil_validation(cohorts: Path) -> None:
    change(cohorts / "site-2", lambda split, cases: [] if split == "validation" else cases)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (spoil_classes, f"site-2's cohort has 2 classes and bundle {BUNDLE} has 3; choose a bundle"),
        (
            spoil_order,
            "site-2's cohort has the classes Glioma, meningioma, pituitary and bundle "
            f"{BUNDLE} has them as meningioma, glioma, pituitary; take the cohort in",
        ),
        (spoil_mask, "must have its image's size (128, 128), got (50, 60); see `fedxai cohort check`"),
        (spoil_image, "cannot be read; see `fedxai cohort check`"),
        (spoil_everything, "lists no case"),
        (spoil_validation, "the validation split must hold at least one case, got none; split the cohort again"),
    ],
)
def test_a_cohort_that_cannot_be_used_is_named_with_its_fault(refused, cohorts, spoil, sentence):
    spoil(cohorts)
    message = refused(cohorts=cohorts)
    assert message.startswith("site-2 cannot take part: ")
    assert sentence in message


def test_a_metric_that_no_site_can_give_is_refused_with_sites_and_classes(refused, cohorts):
    without({"site-1": 0, "site-2": 1, "site-3": 2})(cohorts)
    assert refused(cohorts=cohorts) == (
        "key_metric macro_auc cannot be measured at any site; of validation cases, site-1 has no meningioma, "
        "site-2 has no glioma, site-3 has no pituitary; choose another: --key-metric accuracy"
    )


def test_a_metric_over_fewer_cases_than_may_leave_a_site_is_refused(refused, cohorts):
    for site in cohorts.iterdir():
        change(site, lambda split, cases: cases[:4] if split == "validation" else cases)
    assert "site-1 has fewer than 5, site-2 has fewer than 5, site-3 has fewer than 5; take fewer sites" in refused(
        cohorts=cohorts, settings={"key_metric": "accuracy"}
    )


def test_a_metric_that_weighs_a_few_like_all_others_does_not_leave_and_is_refused(refused, cohorts):
    sentence = refused(cohorts=cohorts, settings={"key_metric": "balanced_accuracy"})
    assert "site-1 has meningioma in fewer than 5 or of one patient and glioma in fewer than 5" in sentence
    assert sentence.endswith("choose another: --key-metric accuracy")


@pytest.mark.parametrize(
    ("spoil", "options", "sentence"),
    [
        (without({"site-2": 1}), {}, "cannot be measured at site-2 alone; of validation cases, site-2 has no "),
        (spoil_image, {}, "site-2 cannot take part: images/"),
        (lambda _: None, {"key_metric": "tea"}, "key_metric must be one of macro_auc, accuracy"),
    ],
)
def test_a_comparison_says_so_before_it_trains(repository, cohorts, tmp_path, spoil, options, sentence):
    spoil(cohorts)
    settings = {"rounds": 2, "train": TrainSettings(), "job": repository / "jobs" / "fedxai", **options}
    with pytest.raises(FedxaiError, match=sentence):
        SystemsComparison(cohorts=cohorts, bundle=Bundle.open(BUNDLE), out=tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"settings": {"bundle": "nope"}}, "no bundle 'nope'; known bundles: "),
        ({"settings": {"key_metric": "loss"}}, "key_metric must be one of macro_auc, accuracy"),
        ({"settings": {"e_floor": 2.0}}, "e_floor must be between 0 and 1, or null, got 2.0"),
        ({"settings": {"validate_every": 0}}, "validate_every "),
        ({"train": {"local_steps": 0}}, "train: local_steps "),
        (
            {"train": {"guidance": {"terms": ["relevance"]}}},
            "guidance by relevance needs relevance_layer in explain.js",
        ),
    ],
)
def test_a_typing_mistake_leaves_the_folder_for_the_corrected_command(refused, phantom_root, options, sentence):
    assert sentence in refused(cohorts=phantom_root, **options)
    assert sentence in refused(**options), "on the phantom, too"


def test_a_setting_of_the_explanations_that_is_not_known_is_refused_before_anything_is_trained(repository, tmp_path):
    job = shutil.copytree(repository / "jobs" / "fedxai", tmp_path / "fedxai")
    edit_json(
        job / "app" / "config" / "config_fed_client.json",
        lambda client: client["components"][0]["args"]["explain"].update(every=2),
    )
    with pytest.raises(SettingsError, match="explain: every .*, got 2; known settings: cases, final_cases"):
        run_job(job, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_site_says_so_in_the_survey_which_comes_before_training():
    with pytest.raises(SettingsError, match="explain: every .*, got 2; known settings: cases, final_cases"):
        Site(BUNDLE, explain={"every": 2}).survey()


def test_a_folder_below_a_file_is_refused_with_the_file(refused, phantom_root, tmp_path):
    (tmp_path / "note.txt").touch()
    message = refused(tmp_path / "note.txt" / "run", cohorts=phantom_root)
    assert message == "--out must be a folder that can be made, and 'note.txt' is none to write in"


def test_a_folder_that_holds_something_is_left_alone(repository, phantom_root):
    with pytest.raises(SettingsError, match="new or empty folder"):
        run_job(repository / "jobs" / "fedxai", out=phantom_root, cohorts=phantom_root)
