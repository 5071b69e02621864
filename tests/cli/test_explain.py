# SPDX-License-Identifier: Apache-2.0
"""`fedxai explain`: maps, scores and gallery of a trained model, whole or not at all."""

import csv
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from fedxai.cli import app
from fedxai.errors import BundleError, CohortError, ExplanationError, FedxaiError, RunError, SettingsError
from fedxai.explain import METHODS
from fedxai.intake.cohort import Cohort
from fedxai.intake.phantom import make_phantom
from fedxai.report.explained_folder import FolderExplanation
from fedxai.score.examine import examine
from fedxai.settings import BUNDLES_VARIABLE
from fedxai.train.engine import SiteTrainer


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "site-1"
    make_phantom(folder, site="site-1", index=0, cases=24)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, brain_bundle) -> Path:
    """What a run leaves: the best and the last model, exported; the last one answers otherwise."""
    folder = tmp_path_factory.mktemp("run") / "RUN"
    for seed, which in enumerate(("best", "last")):
        results = folder / "server" / "simulate_job" / "fedxai" / which
        brain_bundle.export(results, brain_bundle.network(seed=seed).state_dict())
    return folder


def results(run: Path) -> Path:
    return run / "server" / "simulate_job" / "fedxai"


def explain(*words: object, trust: int = 0):
    return CliRunner().invoke(app, ["explain", "--trust-cases", str(trust), *map(str, words)])


def refused(*words: object) -> FedxaiError:
    result = explain(*words)
    assert result.exit_code == 1
    assert isinstance(result.exception, FedxaiError), result.exception
    assert "\n" not in str(result.exception)
    return result.exception


def lines(folder: Path) -> list[dict[str, str]]:
    with (folder / "scores.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def explained(run, cohort, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out") / "DIR"
    words = (run, cohort, "--out", out, "--methods", "saliency,grad_cam", "--cases", 5, "--save-maps")
    result = explain(*words, "--batch-size", 2, "--gallery", 3)
    assert result.exit_code == 0, result.output
    assert "Grad-CAM" in result.output
    assert str(out / "index.html") in result.output.replace("\n", "")
    return out


def test_the_help_ends_with_an_example():
    assert "Example: fedxai explain" in explain("--help").output.replace("`", "")


def test_folder_holds_figures_scores_gallery_and_the_mark(explained):
    explanation = FolderExplanation.model_validate_json((explained / "explanation.json").read_text(encoding="utf-8"))
    assert explanation.split == "test"
    assert explanation.cases == 5
    assert explanation.explained == "the logit of the predicted class"
    assert f"Explained here is {explanation.explained}:" in (explained / "reading.html").read_text(encoding="utf-8")
    assert [method.method for method in explanation.methods] == ["saliency", "grad_cam"]
    assert "never leaves the site" in (explained / "index.html").read_text(encoding="utf-8")
    assert "never leaves the site" in (explained / "NEVER_LEAVES_THE_SITE.txt").read_text(encoding="utf-8")


def test_scores_name_each_case_and_agree_with_the_figures(explained, cohort):
    rows = lines(explained)
    assert [(row["case"], row["method"]) for row in rows[:4]] == [
        ("0", "saliency"),
        ("0", "grad_cam"),
        ("1", "saliency"),
        ("1", "grad_cam"),
    ]
    assert all((cohort / row["image"]).is_file() for row in rows)
    assert {row["label"] for row in rows} <= set(Cohort.open(cohort).class_names)
    figure = json.loads((explained / "explanation.json").read_text(encoding="utf-8"))["methods"][0]
    mean = np.mean([float(row["relevance_mass"]) for row in rows if row["method"] == "saliency"])
    assert mean == pytest.approx(figure["scores"]["relevance_mass"]["value"], abs=1e-4)


def test_maps_are_files_on_the_networks_grid(explained):
    folder = explained / "maps" / "case-00004"
    names = {"image.nii.gz", "region.nii.gz", "saliency.nii.gz", "grad_cam.nii.gz", "saliency.png", "grad_cam.png"}
    assert {path.name for path in folder.iterdir()} == names
    volumes = {path.name: nibabel.load(path) for path in folder.glob("*.nii.gz")}
    assert {volume.shape for volume in volumes.values()} == {(96, 96, 1)}
    assert volumes["saliency.nii.gz"].get_data_dtype() == np.float32
    with Image.open(folder / "grad_cam.png") as picture:
        picture.verify()


def test_cases_are_spread_over_the_split(run, cohort, tmp_path):
    assert explain(run, cohort, "--out", tmp_path / "o", "--cases", 2, "--methods", "saliency").exit_code == 0
    listed = [case.image.name for case in Cohort.open(cohort).cases("test")]
    shown = [Path(row["image"]).name for row in lines(tmp_path / "o")]
    assert shown == [listed[0], listed[-1]], "as the engine chooses between rounds"


def test_a_run_its_results_and_the_exported_bundle_give_the_same_and_last_another(run, cohort, tmp_path):
    def scores(*words: object) -> list[dict[str, str]]:
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        assert explain(*words, cohort, "--out", out, "--methods", "saliency", "--cases", 2).exit_code == 0
        return lines(out)

    best = scores(run)
    bundle = next((results(run) / "best").iterdir())
    assert scores(results(run)) == scores(bundle) == best
    assert scores("--which", "last", run) != best


def test_without_methods_the_bundles_own_explain(run, cohort, tmp_path, brain_bundle):
    assert explain(run, cohort, "--out", tmp_path / "o", "--cases", 1).exit_code == 0
    assert [row["method"] for row in lines(tmp_path / "o")] == brain_bundle.explain.methods


def test_a_method_whose_layer_is_not_there_is_said_once_and_the_others_go_on(run, cohort, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(next((results(run) / "best").iterdir()), bundle)
    path = bundle / "configs" / "explain.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "target_layer": "net.layer_9"}), encoding="utf-8")
    words = ("--out", tmp_path / "o", "--cases", 3, "--batch-size", 1)
    result = explain(bundle, cohort, *words, "--methods", "grad_cam,saliency")
    assert result.exit_code == 0, result.output
    assert result.output.count("Note: grad_cam is left out: target_layer 'net.layer_9' is not in the network") == 1
    assert {row["method"] for row in lines(tmp_path / "o")} == {"saliency"}
    assert isinstance(refused(bundle, cohort, "--out", tmp_path / "p", "--methods", "grad_cam"), ExplanationError)


def test_trust_tests_run_on_request_and_their_verdict_is_shown(run, cohort, tmp_path):
    words = ("--out", tmp_path / "o", "--cases", 4, "--methods", "gradient_x_input")
    result = explain(run, cohort, *words, trust=2)
    assert result.exit_code == 0, result.output
    explanation = FolderExplanation.model_validate_json(
        (tmp_path / "o" / "explanation.json").read_text(encoding="utf-8")
    )
    assert {test.name for test in explanation.methods[0].trust} == {
        "randomisation",
        "faithfulness",
        "robustness",
        "localisation",
    }
    assert "not run" not in result.output
    assert 'title="trust: ' in (tmp_path / "o" / "index.html").read_text(encoding="utf-8")


def test_a_method_that_compares_with_a_background_gets_the_sites_training_images(run, cohort, tmp_path):
    words = ("--out", tmp_path / "o", "--cases", 2, "--methods", "expected_gradients")
    result = explain(run, cohort, *words)
    assert result.exit_code == 0, result.output
    assert len(lines(tmp_path / "o")) == 2


@pytest.fixture
def compared(monkeypatch) -> list[dict]:
    """What each examination was given to explain and to compare with."""
    seen = []

    def spy(network, batches, *, background, **ask):
        listed = list(batches)
        seen.append({"explained": [image for batch in listed for image in batch["image"]], "background": background})
        return examine(network, listed, background=background, **ask)

    monkeypatch.setattr("fedxai.score.examine.examine", spy)
    return seen


def test_no_explained_case_is_in_the_background(run, cohort, tmp_path, compared):
    words = ("--split", "training", "--cases", 2, "--methods", "expected_gradients,integrated_gradients_mean")
    result = explain(run, cohort, "--out", tmp_path / "o", *words)
    assert result.exit_code == 0, result.output
    [given] = compared
    assert len(given["explained"]) == 2
    training = len(Cohort.open(cohort).cases("training"))
    assert len(given["background"]) == min(16, training - 2)
    assert not any(torch.equal(image, other) for image in given["explained"] for other in given["background"])


def test_a_cohort_without_training_cases_is_explained_by_what_compares_with_none(run, cohort, tmp_path):
    shutil.copytree(cohort, tmp_path / "cohort")
    datalist = json.loads((cohort / "dataset.json").read_text(encoding="utf-8"))
    (tmp_path / "cohort" / "dataset.json").write_text(json.dumps({**datalist, "training": []}), encoding="utf-8")
    result = explain(run, tmp_path / "cohort", "--out", tmp_path / "o", "--methods", "saliency,expected_gradients")
    assert result.exit_code == 0, result.output
    assert {row["method"] for row in lines(tmp_path / "o")} == {"saliency"}
    assert "Note: expected_gradients must compare with training cases" in result.output


def test_where_every_training_case_is_explained_what_compares_is_left_out(run, cohort, tmp_path):
    words = ("--split", "training", "--methods")
    result = explain(run, cohort, "--out", tmp_path / "o", *words, "saliency,expected_gradients")
    assert result.exit_code == 0, result.output
    assert "Note: expected_gradients must compare with training cases that are not explained, got none" in result.output
    assert "Note: expected_gradients is left out: expected_gradients needs background" in result.output
    assert {row["method"] for row in lines(tmp_path / "o")} == {"saliency"}
    error = refused(run, cohort, "--out", tmp_path / "p", *words, "expected_gradients")
    assert "expected_gradients needs background" in str(error)
    quiet = explain(run, cohort, "--out", tmp_path / "q", *words, "saliency")
    assert quiet.exit_code == 0
    assert "Note" not in quiet.output


def test_methods_are_asked_from_several_baselines_and_what_that_changes_is_shown(run, cohort, tmp_path):
    names = ["occlusion", "occlusion_mean", "occlusion_blurred"]
    result = explain(run, cohort, "--cases", 2, "--methods", ",".join(names), "--out", tmp_path / "x")
    assert result.exit_code == 0, result.output
    told = FolderExplanation.model_validate_json((tmp_path / "x" / "explanation.json").read_text())
    assert [method.method for method in told.methods] == names
    page = (tmp_path / "x" / "methods.html").read_text()
    assert "What another baseline changes" in page


def test_all_asks_every_method_and_after_it_its_other_baselines(run, cohort, tmp_path, monkeypatch):
    asked = []

    def two(self, methods, split, background):
        asked.extend(methods)
        return ["saliency", "gradient_x_input"], {}

    monkeypatch.setattr(SiteTrainer, "answering", two)
    result = explain(run, cohort, "--cases", 1, "--methods", "all", "--out", tmp_path / "o")
    assert result.exit_code == 0, result.output
    assert len(asked) == len(METHODS.names)
    assert set(asked) == METHODS.names
    assert [name for name in asked if name in list(METHODS)] == list(METHODS)
    place = asked.index("occlusion")
    assert asked[place : place + 3] == ["occlusion", "occlusion_blurred", "occlusion_mean"]


def test_what_is_no_run_and_no_bundle_is_refused(cohort, tmp_path):
    (tmp_path / "empty").mkdir()
    message = str(refused("nowhere", cohort, "--out", tmp_path / "o"))
    assert message.startswith("no bundle 'nowhere'; known bundles: ")
    error = refused(tmp_path / "empty", cohort, "--out", tmp_path / "o")
    assert isinstance(error, RunError)
    assert "'empty' is neither a run nor a bundle" in str(error)
    assert not (tmp_path / "o").exists()


def test_a_model_that_the_run_does_not_have_is_refused(run, cohort, tmp_path):
    shutil.copytree(results(run) / "last", tmp_path / "RUN" / "last")
    message = str(refused(tmp_path / "RUN", cohort, "--out", tmp_path / "o"))
    assert message == "run 'RUN' has no best model; it has: last"


def test_a_bundle_without_weights_is_refused(cohort, tmp_path, monkeypatch):
    monkeypatch.delenv(BUNDLES_VARIABLE, raising=False)
    message = str(refused("brain_mri_tumor_classification", cohort, "--out", tmp_path / "o"))
    assert "has no weights (models/model.pt); name a run, or the bundle it exported" in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "cannot be read"), ("not a state", "plain state dict"), ({"w": torch.zeros(2)}, "don't fit its network")],
)
def test_weights_that_are_broken_or_of_another_network_are_refused(run, cohort, tmp_path, content, reason):
    bundle = tmp_path / "bundle"
    shutil.copytree(next((results(run) / "best").iterdir()), bundle)
    path = bundle / "models" / "model.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    error = refused(bundle, cohort, "--out", tmp_path / "o")
    assert isinstance(error, BundleError)
    assert reason in str(error)
    assert not (tmp_path / "o").exists()


def test_an_unknown_method_lists_the_known(run, cohort, tmp_path):
    message = str(refused(run, cohort, "--out", tmp_path / "o", "--methods", "saliency,tea_leaves"))
    assert message.startswith("unknown saliency method 'tea_leaves'; choose from ")
    assert "gradient_x_input" in message


def test_a_cohort_with_other_classes_is_refused(run, cohort, tmp_path):
    shutil.copytree(cohort, tmp_path / "cohort")
    datalist = json.loads((cohort / "dataset.json").read_text(encoding="utf-8"))
    datalist["labels"]["3"] = "another"
    (tmp_path / "cohort" / "dataset.json").write_text(json.dumps(datalist), encoding="utf-8")
    message = str(refused(run, tmp_path / "cohort", "--out", tmp_path / "o"))
    assert message.startswith("cohort has 4 classes and bundle brain_mri_tumor_classification has 3")


def test_a_cohort_with_the_models_classes_in_another_order_is_refused(run, cohort, tmp_path):
    shutil.copytree(cohort, tmp_path / "cohort")
    datalist = json.loads((cohort / "dataset.json").read_text(encoding="utf-8"))
    labels = dict(zip("012", reversed(datalist["labels"].values()), strict=True))
    (tmp_path / "cohort" / "dataset.json").write_text(json.dumps({**datalist, "labels": labels}), encoding="utf-8")
    assert "cohort has the classes pituitary" in str(refused(run, tmp_path / "cohort", "--out", tmp_path / "o"))


def test_an_empty_split_is_refused(run, cohort, tmp_path):
    shutil.copytree(cohort, tmp_path / "cohort")
    datalist = json.loads((cohort / "dataset.json").read_text(encoding="utf-8"))
    datalist["test"] = []
    (tmp_path / "cohort" / "dataset.json").write_text(json.dumps(datalist), encoding="utf-8")
    error = refused(run, tmp_path / "cohort", "--out", tmp_path / "o")
    assert isinstance(error, CohortError)
    assert str(error) == "cohort: the test split must hold at least one case, got none"


def test_an_image_that_cannot_be_read_leaves_nothing_behind(run, cohort, tmp_path):
    shutil.copytree(cohort, tmp_path / "cohort")
    Cohort.open(tmp_path / "cohort").cases("test")[-1].image.write_bytes(b"")
    words = ("--out", tmp_path / "o", "--methods", "saliency", "--batch-size", 1, "--save-maps")
    error = refused(run, tmp_path / "cohort", *words)
    assert isinstance(error, CohortError)
    assert "cannot be prepared for the network; see `fedxai cohort check`" in str(error)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cohort"]


def test_a_folder_that_holds_something_is_refused(run, cohort, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    error = refused(run, cohort, "--out", tmp_path)
    assert isinstance(error, SettingsError)
    assert (tmp_path / "thesis.txt").exists()


def test_the_present_folder_is_refused_before_anything_is_explain(run, cohort, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = refused(run, cohort, "--out", ".")
    assert isinstance(error, SettingsError)
    assert str(error) == f"--out must be a folder that can be replaced, got '{tmp_path.name}'; name a new one inside it"


def test_a_link_is_followed(run, cohort, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for name, target in (("link", "elsewhere"), ("dangling", "nothing")):
        (tmp_path / name).symlink_to(tmp_path / target)
        assert explain(run, cohort, "--out", tmp_path / name, "--methods", "saliency", "--cases", 1).exit_code == 0
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / target / "scores.csv").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "elsewhere", "link", "nothing"]


@pytest.mark.parametrize("device", ["cuda:99", "meta", "nonsense"])
def test_a_device_that_is_not_there_is_refused(run, cohort, tmp_path, device):
    assert "--device must be a device of this machine" in str(
        refused(run, cohort, "--out", tmp_path / "o", "--device", device)
    )


def test_no_method_at_all_is_refused(run, cohort, tmp_path):
    assert "--methods must name at least one of " in str(
        refused(run, cohort, "--out", tmp_path / "o", "--methods", " , ")
    )


def test_a_seed_is_one_that_every_generator_takes(run, cohort, tmp_path):
    result = explain(run, cohort, "--out", tmp_path / "o", "--seed", 2**32)
    assert result.exit_code == 2
    assert "4294967295" in result.output


def test_a_region_that_vanishes_on_the_networks_grid_is_none(run, cohort, tmp_path):
    """A case whose region is a single pixel of a large image is counted with those that have none."""
    shutil.copytree(cohort, tmp_path / "cohort")
    case = Cohort.open(tmp_path / "cohort").cases("test")[0]
    Image.open(case.image).resize((640, 640)).save(case.image)
    dot = Image.new("L", (640, 640))
    dot.putpixel((1, 1), 255)
    dot.save(case.region)
    assert explain(run, tmp_path / "cohort", "--out", tmp_path / "o", "--methods", "saliency").exit_code == 0
    found = json.loads((tmp_path / "o" / "explanation.json").read_text())["methods"][0]
    assert (found["unscored"], found["undefined"]["relevance_mass"]) == (1, 0)
    rows = lines(tmp_path / "o")
    assert [row["relevance_mass"] for row in rows].count("") == 1
    gini = [float(row["gini"]) for row in rows]  # which needs no region
    assert np.mean(gini) == pytest.approx(found["scores"]["gini"]["value"], abs=1e-4)
