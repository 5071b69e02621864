# SPDX-License-Identifier: Apache-2.0
"""Bundles with the constructs of published ones: found, mapped, checked and trained with explain.json added."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from fedxai.bundle import Bundle
from fedxai.bundle.inspection import Inspection
from fedxai.combine.statistics import proposal
from fedxai.errors import BundleError
from fedxai.intake.cohort import Cohort
from fedxai.intake.phantom_3d import make_phantom_3d
from fedxai.intake.statistics import cohort_statistics
from fedxai.privacy.statistics import released_statistics
from fedxai.records import Case
from fedxai.report.survey import monai_config
from fedxai.settings import TrainSettings
from fedxai.train.engine import SiteTrainer

from .conftest import NETWORKS, SCRIPT, train_config


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_nothing_is_missing_and_nothing_refused(write, network, suffix):
    found = Inspection(write(train_config(network), network=network, suffix=suffix))
    assert found.refusal is None
    assert found.missing == []
    assert found.train_file == f"train{suffix}"
    assert found.mapped.found["train#trainer"] == "train::trainer"


def test_what_the_engine_does_not_ask_for_is_left_behind(write, config):
    mapped = Inspection(write(config)).mapped
    assert not {"images", "initialize", "run"} & set(mapped.config)
    assert "imports" not in mapped.config or mapped.config["imports"] == []
    assert mapped.config["train"]["handlers"] == []
    assert mapped.config["train"]["dataset"]["_target_"] == "CacheDataset"
    assert mapped.notes == ["train: PersistentDataset is replaced by CacheDataset"]


def test_what_does_not_run_here_is_listed_with_what_it_reaches(write, config):
    findings = Inspection(write(config)).findings
    reached = {finding.what: finding.reaches for finding in findings if finding.reaches}
    assert reached["$list(sorted(glob.glob(os.path.join(@bundle_root, '*.nii.gz'))))"] == "file names"
    assert reached["CheckpointSaver"] == "other parts of MONAI"
    assert not any(finding.runs for finding in findings if finding.reaches)


def test_step_size_batch_and_epochs_answer_to_the_engines_names(write, config):
    parser = Bundle.open(write(config)).parser(
        {"learning_rate": 0.5, "batch_size": 7, "max_epochs": 3, "device": "cpu"}
    )
    assert parser.get_parsed_content("optimizer").param_groups[0]["lr"] == 0.5
    assert parser.get("train#dataloader#batch_size") == "@batch_size"
    assert parser.get_parsed_content("batch_size") == 7
    assert parser.get_parsed_content("lr_scheduler").step_size == 3


def test_there_is_one_network_whatever_the_bundle_calls_it(write, config):
    config["net"] = config.pop("network_def")
    config.pop("network")
    config["train"]["trainer"]["network"] = config["validate"]["evaluator"]["network"] = "@net"
    config["optimizer"]["params"] = "$@net.parameters()"
    parser = Bundle.open(write(config)).parser({"device": "cpu"})
    parameters = parser.get_parsed_content("optimizer").param_groups[0]["params"]
    assert [id(p) for p in parameters] == [id(p) for p in parser.get_parsed_content("network").parameters()]


def test_a_mapping_finds_parts_under_other_names(write, config):
    config["fitting"] = config.pop("train")
    text = json.dumps(config).replace("train#", "fitting#")
    folder = write(json.loads(text))
    assert "train#trainer" in Inspection(folder).missing
    file = folder / "configs" / "explain.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "mapping": {"train#trainer": "fitting#trainer"}}))
    found = Inspection(folder)
    assert found.missing == []
    assert found.mapped.found["train#preprocessing"] == "fitting::preprocessing"
    assert found.refusal is None


DICE = {"_target_": "MeanDice", "include_background": False}


def test_metrics_are_found_by_id_and_by_what_the_engine_is_given(write, config):
    config["train"]["key_metric"] = {"train_accuracy": {"_target_": "ignite.metrics.Accuracy"}}
    config["dice"] = DICE
    config["validate"]["evaluator"] |= {"key_val_metric": {"val_dice": "@dice"}, "additional_metrics": "@others"}
    config["others"] = {"val_iou": {"_target_": "MeanIoUHandler"}, "val_mae": {"_target_": "MeanAbsoluteError"}}
    found = Inspection(write(config))
    assert found.mapped.metrics == {
        "train#key_metric": ["train_accuracy: ignite.metrics.Accuracy"],
        "validate#key_metric": ["val_dice: MeanDice"],
        "validate#additional_metrics": ["val_iou: MeanIoUHandler", "val_mae: MeanAbsoluteError"],
    }
    where = {part: found.mapped.found[part] for part in found.mapped.metrics}
    assert list(where.values()) == ["train::key_metric", "in validate", "others"]
    assert found.refusal is None
    assert found.missing == []
    assert not any(finding.runs for finding in found.findings if "Dice" in finding.what and "Loss" not in finding.what)


@pytest.mark.parametrize(("named", "missing"), [("figures#dice", []), ("figures#gone", ["validate#key_metric"])])
def test_metrics_are_found_by_an_explicit_mapping(write, config, named, missing):
    config["figures"] = {"dice": DICE}
    folder = write(config)
    assert Inspection(folder).mapped.metrics == {}
    file = folder / "configs" / "explain.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "mapping": {"validate#key_metric": named}}))
    found = Inspection(folder)
    assert found.missing == missing
    assert found.mapped.metrics == ({} if missing else {"validate#key_metric": ["dice: MeanDice"]})


def test_a_script_that_computes_runs_and_another_bundles_takes_its_place(write, config, tmp_path):
    config["train"]["random_transforms"].append({"_target_": "scripts.more.Doubled", "keys": "image"})
    folder = write(config)
    (folder / "scripts").mkdir()
    for factor in (2, 3):
        (folder / "scripts" / "more.py").write_text(SCRIPT.replace("* 2", f"* {factor}"))
        bundle = Bundle.open(folder)
        assert [found.what for found in bundle.inspection.findings if found.kind == "import" and found.runs] == [
            "monai.transforms.MapTransform"
        ]
        double = bundle.parser({"device": "cpu"}).get_parsed_content("train#preprocessing").transforms[-1]
        assert double({"image": 1}) == {"image": factor}
        folder = folder.rename(tmp_path / "bundles" / f"other_{factor}")
    assert not list(tmp_path.rglob("*.pyc"))


def test_without_class_names_in_metadata_explain_json_gives_them(write, config):
    folder = write(config)
    file = folder / "configs" / "metadata.json"
    values = json.loads(file.read_text())
    values["network_data_format"]["outputs"]["pred"].pop("channel_def")
    file.write_text(json.dumps(values))
    assert Inspection(folder).missing == ["class names"]
    explain = folder / "configs" / "explain.json"
    explain.write_text(json.dumps({**json.loads(explain.read_text()), "class_names": ["a", "b", "c"]}))
    assert Bundle.open(folder).class_names == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "key 'a' stands twice"),
        ("[1]", "must hold a mapping"),
        ('{"network_def": "%gone#net"}', "leads nowhere"),
        ('{"a": "%b", "b": "%a"}', "do not come to an end|leads nowhere"),
    ],
)
def test_a_configuration_that_is_no_good_is_one_sentence(write, config, text, reason):
    folder = write(config)
    (folder / "configs" / "train.json").write_text(text)
    with pytest.raises(BundleError, match=reason):
        Inspection(folder)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\na: 2\n", "key 'a' stands twice"),
        ("a: &x [*x]\n", "not readable|holds itself"),
        ("a: !!python/name:os.system\n", "YAML tag"),
        ("a: &x [1]\nb: [" + ", ".join(["*x"] * 65) + "]\n", "more than 64 YAML aliases"),
    ],
)
def test_yaml_is_read_strictly(write, config, text, reason):
    folder = write(config, suffix=".yaml")
    (folder / "configs" / "train.yaml").write_text(yaml.safe_dump(config) + text)
    with pytest.raises(BundleError, match=reason):
        Inspection(folder)


def volumes(folder, thickness):
    """A site whose slices are so many mm thick."""
    rng, cases = np.random.default_rng(0), []
    for index in range(6):
        files = [folder / f"{kind}{index}.nii.gz" for kind in ("image", "label")]
        folder.mkdir(exist_ok=True)
        for file, voxels in zip(files, (rng.random((8, 8, 12)), rng.integers(0, 3, (8, 8, 12))), strict=True):
            nib.save(nib.Nifti1Image(voxels.astype(np.float32), np.diag([0.8, 0.8, thickness, 1])), file)
        cases.append(Case(image=files[0], label=files[1], group=str(index)))
    splits = {"training": cases}
    names = ["background", "anterior", "posterior"]
    return Cohort.write(folder, name="v", description="", modality="MR", class_names=names, splits=splits)


def test_the_one_spacing_that_a_survey_proposes_is_taken_in(write, config, tmp_path):
    cohorts = [volumes(tmp_path / f"site-{thickness}", thickness) for thickness in (1.0, 1.5, 3.0)]
    told = {site.folder.name: released_statistics(cohort_statistics(site, group=5), 5) for site in cohorts}
    proposed, _ = proposal(told, task="segmentation")
    assert proposed.pixdim == [0.8, 0.8, 1.5], "the median site's"
    [place] = [i for i, step in enumerate(config["train"]["deterministic_transforms"]) if step["_target_"] == "Resized"]
    config["train"]["deterministic_transforms"][place] = {
        "_target_": "Spacingd",
        "keys": ["image", "label"],
        "pixdim": "%configs/preprocessing.json::spacing::pixdim",
        "mode": ["bilinear", "nearest"],
    }
    folder = write(config)
    (folder / "configs" / "preprocessing.json").write_text(json.dumps(monai_config(proposed)))
    prepare = Bundle.open(folder).parser({"device": "cpu"}).get_parsed_content("validate#preprocessing")
    for site, depth in zip(cohorts, (8, 12, 23), strict=True):
        case = site.cases("training")[0]
        item = prepare({"image": str(case.image), "label": str(case.label)})
        for key in ("image", "label"):
            assert item[key].pixdim.tolist() == pytest.approx(proposed.pixdim)
            assert item[key].shape == (1, 8, 8, depth)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "task"), [("UNet", "segmentation"), ("DenseNet", "classification")])
def test_a_round_trains_on_phantom_volumes(write, tmp_path, network, task):
    cohort = make_phantom_3d(tmp_path / "cohort", site="site-1", index=0, task=task, cases=12)
    bundle = Bundle.open(write(train_config(network), network=network))
    settings = TrainSettings(local_steps=2, batch_size=2)
    site = SiteTrainer(bundle=bundle, cases=cohort.splits(), site="site-1", settings=settings, device="cpu")
    before = site.weights()
    update = site.train(before, round_=0, rounds=1)
    assert update.steps == 2
    assert any(abs(value).max() > 0 for value in update.difference.values())
    figures = site.evaluate("validation", intervals=False)
    assert figures.cases == len(site.cases["validation"])
    assert torch.is_tensor(next(site.network.parameters()))


@pytest.mark.slow
def test_an_augmentation_that_interpolates_label_maps_trains_as_in_monai(write, config, tmp_path):
    """As prostate_mri_anatomy is published: a random transform over both keys, its mode the default."""
    moved = {"_target_": "RandAffined", "keys": ["image", "label"], "prob": 1.0, "translate_range": 0.5}
    config["train"]["random_transforms"].append(moved)
    cohort = make_phantom_3d(tmp_path / "cohort", site="site-1", index=0, task="segmentation", cases=12)
    site = SiteTrainer(
        bundle=Bundle.open(write(config)),
        cases=cohort.splits(),
        site="site-1",
        settings=TrainSettings(local_steps=1),
        device="cpu",
    )
    assert site.train(site.weights(), round_=0, rounds=1).steps == 1
