# SPDX-License-Identifier: Apache-2.0
"""The files of a bundle agree with MONAI's rules and with one another."""

import json
from urllib.error import URLError

import jsonschema
import pytest
from monai.bundle import verify_metadata, verify_net_in_out
from monai.bundle.properties import InferProperties, TrainProperties
from monai.utils import BundleProperty, BundlePropertyConfig

# What meta_schema_20240725.json asks for, restated so that it can be checked without a network.
_TEXT, _TABLE = {"type": "string"}, {"type": "object"}
_TENSOR = {
    "type": "object",
    "properties": {
        "type": _TEXT,
        "format": _TEXT,
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array", "items": {"type": ["string", "integer"]}},
        "dtype": _TEXT,
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": _TABLE,
    },
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
}
_TENSORS = {"type": "object", "additionalProperties": _TENSOR}
_TEXTS = [
    "schema",
    "version",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "task",
    "description",
    "authors",
    "copyright",
    "data_source",
    "data_type",
    "image_classes",
    "label_classes",
    "pred_classes",
    "intended_use",
]
_REQUIRED = [
    "schema",
    "version",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "required_packages_version",
    "task",
    "description",
    "authors",
    "copyright",
    "network_data_format",
]
SCHEMA = {
    "type": "object",
    "properties": {
        **dict.fromkeys(_TEXTS, _TEXT),
        **dict.fromkeys(("changelog", "required_packages_version", "eval_metrics", "supported_apps"), _TABLE),
        "references": {"type": "array", "items": _TEXT},
        "network_data_format": {
            "type": "object",
            "properties": {"inputs": _TENSORS, "outputs": _TENSORS},
            "required": ["inputs", "outputs"],
        },
    },
    "required": _REQUIRED,
}


def _config(bundle, name):
    return json.loads((bundle.path / "configs" / name).read_text())


def _id(config, path):
    for key in path.split("::"):
        config = config[key]
    return config


def test_the_network_takes_and_gives_what_the_metadata_promises(bundle):
    configs = bundle.path / "configs"
    verify_net_in_out(
        net_id="network",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "train.json"),
        device="cpu",
    )


def test_the_metadata_has_what_the_schema_requires(bundle):
    jsonschema.validate(bundle.metadata, SCHEMA)


@pytest.mark.parametrize("key", _REQUIRED)
def test_metadata_without_a_required_field_would_be_noticed(brain_bundle, key):
    with pytest.raises(jsonschema.ValidationError, match=key):
        jsonschema.validate({name: value for name, value in brain_bundle.metadata.items() if name != key}, SCHEMA)


@pytest.mark.slow
def test_the_metadata_passes_monais_own_verification(bundle, tmp_path):
    try:
        verify_metadata(meta_file=str(bundle.path / "configs" / "metadata.json"), filepath=tmp_path / "schema.json")
    except (URLError, TimeoutError, ConnectionError):
        pytest.skip("the schema cannot be downloaded on this machine")


def test_the_version_is_in_the_changelog(bundle):
    assert bundle.version in bundle.metadata["changelog"]


@pytest.mark.parametrize(("file", "known"), [("train.json", TrainProperties), ("inference.json", InferProperties)])
def test_a_config_has_every_id_that_monai_requires(bundle, file, known):
    config = _config(bundle, file)
    wanted = [rule[BundlePropertyConfig.ID] for rule in known.values() if rule[BundleProperty.REQUIRED]]
    for path in wanted:
        assert _id(config, path) is not None, path


def test_inference_uses_the_network_and_the_preprocessing_of_training(bundle):
    train, inference = _config(bundle, "train.json"), _config(bundle, "inference.json")
    assert inference["network_def"] == train["network_def"]
    assert inference.get("blocks") == train.get("blocks")
    assert inference["preprocessing"]["transforms"] == train["train"]["deterministic_transforms"]


def test_channels_names_and_one_hot_labels_are_as_many_as_the_classes(bundle):
    classes = len(bundle.class_names)
    assert bundle.metadata["network_data_format"]["outputs"]["pred"]["num_channels"] == classes
    assert bundle.metadata["label_classes"].split(", ") == bundle.class_names
    for part in ("train", "validate"):
        steps = bundle.parser().get(f"{part}#postprocessing#transforms")
        assert [step["to_onehot"] for step in steps if step["_target_"] == "AsDiscreted"] == [classes]


def test_the_model_card_names_the_input_the_classes_and_the_limits(bundle, grid):
    card = (bundle.path / "docs" / "README.md").read_text()
    assert " x ".join(str(size) for size in grid) in card
    assert all(f"{index} {name}" in card for index, name in enumerate(bundle.class_names))
    for chapter in ("Model overview", "Data", "Training configuration", "Performance", "Commands"):
        assert f"\n## {chapter}\n" in card
    assert "explain.json" in card
    assert "Not a medical device" in card


def test_a_licence_comes_with_the_bundle(bundle):
    assert "Apache License" in (bundle.path / "LICENSE").read_text()
