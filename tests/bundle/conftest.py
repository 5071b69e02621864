# SPDX-License-Identifier: Apache-2.0
"""Small bundles made by hand with the constructs of published ones, to be read, spoilt, approved and trained."""

import json
from pathlib import Path

import pytest
import yaml

NETWORKS = {
    "UNet": {"channels": [4, 8], "strides": [2], "out_channels": 3},
    "SegResNet": {"init_filters": 4, "blocks_down": [1, 1], "blocks_up": [1], "out_channels": 3},
    "DynUNet": {"kernel_size": [3, 3], "strides": [1, 2], "upsample_kernel_size": [2], "out_channels": 3},
    "DenseNet": {"init_features": 4, "growth_rate": 2, "block_config": [1, 1], "out_channels": 3},
}
SCRIPT = """from monai.transforms import MapTransform


class Doubled(MapTransform):
    def __call__(self, data):
        return {**data, **{key: data[key] * 2 for key in self.keys}}
"""
REGION = {"_target_": "Compose", "transforms": [{"_target_": "LoadImaged", "keys": "region"}]}


def train_config(network: str = "UNet", dims: int = 3) -> dict:
    """A training configuration as the Model Zoo writes them: file lists, macros, references, handlers, AMP."""
    keys = ["image"] if network == "DenseNet" else ["image", "label"]
    size = [16] * dims
    steps = [
        {"_target_": "LoadImaged", "keys": keys, "ensure_channel_first": True},
        {"_target_": "ScaleIntensityd", "keys": "image"},
        {"_target_": "Resized", "keys": keys, "spatial_size": size, "mode": "nearest"},
        {"_target_": "EnsureTyped", "keys": keys},
    ]
    engine = {"device": "@device", "network": "@network", "amp": True}
    return {
        "imports": ["$import glob", "$import os", "$import ignite"],
        "bundle_root": ".",
        "images": "$list(sorted(glob.glob(os.path.join(@bundle_root, '*.nii.gz'))))",
        "epochs": 8,
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": network, "spatial_dims": dims, "in_channels": 1, **NETWORKS[network]},
        "network": "$@network_def.to(@device)",
        "loss": {"_target_": "torch.nn.CrossEntropyLoss"}
        if network == "DenseNet"
        else {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True},
        "optimizer": {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": 0.01},
        "lr_scheduler": {
            "_target_": "torch.optim.lr_scheduler.StepLR",
            "optimizer": "@optimizer",
            "step_size": "@epochs",
        },
        "train": {
            "deterministic_transforms": steps,
            "random_transforms": [{"_target_": "RandShiftIntensityd", "keys": "image", "offsets": 0.1}],
            "preprocessing": {
                "_target_": "Compose",
                "transforms": "$@train#deterministic_transforms + @train#random_transforms",
            },
            "dataset": {
                "_target_": "PersistentDataset",
                "data": "$[{'image': i} for i in @images]",
                "transform": "@train#preprocessing",
                "cache_dir": "$@bundle_root + '/cache'",
            },
            "dataloader": {
                "_target_": "DataLoader",
                "dataset": "@train#dataset",
                "batch_size": 2,
                "shuffle": True,
                "num_workers": 4,
            },
            "inferer": {"_target_": "SimpleInferer"},
            "handlers": [
                {"_target_": "ValidationHandler", "validator": "@validate#evaluator", "interval": 1},
                {"_target_": "TensorBoardStatsHandler", "log_dir": "$@bundle_root + '/eval'"},
            ],
            "trainer": {
                "_target_": "SupervisedTrainer",
                "max_epochs": "@epochs",
                "train_data_loader": "@train#dataloader",
                "loss_function": "@loss",
                "optimizer": "@optimizer",
                "inferer": "@train#inferer",
                "train_handlers": "@train#handlers",
                **engine,
            },
        },
        "validate": {
            "preprocessing": {"_target_": "Compose", "transforms": "%train#deterministic_transforms"},
            "dataset": {"_target_": "Dataset", "data": "$[]", "transform": "@validate#preprocessing"},
            "dataloader": {"_target_": "DataLoader", "dataset": "@validate#dataset", "batch_size": 1},
            "inferer": {"_target_": "SimpleInferer"},
            "handlers": [{"_target_": "CheckpointSaver", "save_dir": "models", "save_dict": {"model": "@network"}}],
            "evaluator": {
                "_target_": "SupervisedEvaluator",
                "val_data_loader": "@validate#dataloader",
                "inferer": "@validate#inferer",
                "val_handlers": "@validate#handlers",
                **engine,
            },
        },
        "initialize": ["$monai.utils.set_determinism(seed=123)", "$setattr(torch.backends.cudnn, 'benchmark', True)"],
        "run": ["$@train#trainer.run()"],
    }


def metadata(network: str = "UNet") -> dict:
    output = {"type": "image", "format": "segmentation"} if network != "DenseNet" else {"type": "probabilities"}
    names = {"0": "background", "1": "anterior", "2": "posterior"}
    return {
        "version": "0.1.0",
        "network_data_format": {
            "inputs": {"image": {"num_channels": 1, "spatial_shape": [16, 16, 16]}},
            "outputs": {"pred": {**output, "num_channels": 3, "channel_def": names}},
        },
    }


def write_bundle(folder: Path, config: dict, *, network: str = "UNet", suffix: str = ".json") -> Path:
    configs = folder / "configs"
    configs.mkdir(parents=True)
    text = json.dumps(config) if suffix == ".json" else yaml.safe_dump(config)
    (configs / f"train{suffix}").write_text(text)
    (configs / "metadata.json").write_text(json.dumps(metadata(network)))
    region = REGION if network == "DenseNet" else "label"
    explain = {"methods": ["saliency"], "region": region, "target_layer": None}
    (configs / "explain.json").write_text(json.dumps(explain))
    (configs / "logging.conf").write_text(
        "[handlers]\nkeys=console\n[handler_console]\nclass=StreamHandler\nargs=(sys.stdout,)\n"
    )
    return folder


@pytest.fixture
def config() -> dict:
    return train_config()


@pytest.fixture
def write(tmp_path):
    """Write a configuration as a bundle called mine."""
    return lambda config, **options: write_bundle(tmp_path / "bundles" / "mine", config, **options)
