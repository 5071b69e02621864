# SPDX-License-Identifier: Apache-2.0
"""A tiny segmentation: a bundle of 400 weights over volumes of 12 to 16 voxels an axis, bright boxes to find."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from fedxai.records import SPLITS, Case


@pytest.fixture(scope="session")
def tiny_bundle(repository, tmp_path_factory):
    """The hippocampus bundle with a smaller grid and network."""
    from fedxai.bundle import Bundle

    folder = tmp_path_factory.mktemp("bundles") / "tiny_mri_segmentation"
    shutil.copytree(repository / "bundles" / "hippocampus_mri_segmentation", folder)
    path = folder / "configs" / "train.json"
    config = json.loads(path.read_text())
    config["network_def"].update(channels=[4, 8], strides=[2])
    for step in config["train"]["deterministic_transforms"]:
        if step["_target_"] == "SpatialPadd":
            step["spatial_size"] = [16, 16, 16]
    for step in config["train"]["random_transforms"]:
        if step["_target_"] == "RandSpatialCropd":
            step["roi_size"] = [12, 12, 12]
    config["validate"]["inferer"]["roi_size"] = [16, 16, 16]
    path.write_text(json.dumps(config))
    explain = folder / "configs" / "explain.json"
    explain.write_text(explain.read_text().replace("model.1.submodule.2", "model.1"))
    return Bundle.open(folder)


@pytest.fixture(scope="session")
def make_volume(tmp_path_factory):
    """Write a case of two boxes, and give it; ``values`` are the labels of the boxes."""
    home = tmp_path_factory.mktemp("volumes")

    def make(name, *, values=(1, 2), spacing=(1.0, 1.0, 1.0), shape=(14, 12, 13)):
        rng = np.random.default_rng(list(name.encode()))
        labels = np.zeros(shape, dtype=np.uint8)
        place = rng.integers(2, 5)
        labels[place : place + 3, 3:8, 3:8] = values[0]
        labels[place + 3 : place + 6, 3:8, 3:8] = values[1]
        image = (rng.random(shape) * 100 + 200 * labels).astype(np.float32)
        for kind, voxels in (("image", image), ("label", labels)):
            nib.save(nib.Nifti1Image(voxels, np.diag([*spacing, 1.0])), home / f"{name}_{kind}.nii.gz")
        return Case(image=home / f"{name}_image.nii.gz", label=home / f"{name}_label.nii.gz", group=name)

    return make


@pytest.fixture(scope="session")
def volume_cases(make_volume):
    """Four training, three validation and three test cases."""
    counts = dict(zip(SPLITS, (4, 3, 3), strict=True))
    return {split: [make_volume(f"{split}{i}") for i in range(count)] for split, count in counts.items()}
