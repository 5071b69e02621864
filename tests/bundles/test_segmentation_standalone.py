# SPDX-License-Identifier: Apache-2.0
"""A segmentation bundle: volumes of any spacing onto its grid with their label maps, and its card's commands alone."""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch

from fedxai.intake.phantom_3d import make_phantom_3d

AXES = 3
FORMAT = "segmentation"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """The smallest segmentation phantom, of slices of 3 mm."""
    folder = tmp_path_factory.mktemp("cohort") / "site-2"
    return make_phantom_3d(folder, site="site-2", index=1, task="segmentation", cases=12)


@pytest.fixture
def prepared(bundle, cohort):
    case = cohort.cases("test")[0]
    item = {"image": str(case.image), "label": str(case.label)}
    return case, bundle.parser().get_parsed_content("validate#preprocessing")(item)


def test_image_and_label_map_land_on_the_promised_grid_in_the_promised_range(bundle, grid, prepared):
    _, item = prepared
    assert tuple(item["image"].shape) == tuple(item["label"].shape) == (1, *grid)
    assert item["image"].dtype == torch.float32
    assert (float(item["image"].min()), float(item["image"].max())) == bundle.explain.input_range
    assert set(item["label"].unique().tolist()) == {0, 1, 2}
    assert np.allclose(item["label"].pixdim, 1), "in mm, for distances"


def test_no_labelled_millimetre_is_lost(prepared):
    case, item = prepared
    stored = nib.load(case.label)
    voxel = np.prod(stored.header.get_zooms())
    for value in (1, 2):
        volume = float((item["label"] == value).sum())
        assert volume == pytest.approx((np.asarray(stored.dataobj) == value).sum() * voxel, rel=0.15)


def test_augmentation_moves_the_label_map_with_the_image(bundle, cohort):
    """The structure is drawn brighter than what is around it; were one moved without the other it would not be."""
    transform = bundle.parser().get_parsed_content("train#preprocessing").set_random_state(seed=0)
    case = cohort.cases("test")[0]
    for _ in range(6):
        item = transform({"image": str(case.image), "label": str(case.label)})
        inside, outside = (item["image"][mask] for mask in (item["label"] > 0, item["label"] == 0))
        assert abs(float(inside.mean() - outside.mean())) > 0.02
        assert item["image"].shape == item["label"].shape == (1, 40, 56, 40)


@pytest.fixture(scope="module")
def ran(bundle, cohort, tmp_path_factory):
    """A copy of the bundle in which training, evaluation and inference have run, in the card's order."""
    home = tmp_path_factory.mktemp("alone") / bundle.name
    shutil.copytree(bundle.path, home, ignore=shutil.ignore_patterns("models", "eval"))
    lines = re.findall(r"^python -m monai\.bundle run .*$", (home / "docs" / "README.md").read_text(), re.MULTILINE)
    places = {
        "/path/to/cohort": str(cohort.folder),
        "/path/to/images": str(cohort.folder / "images"),
        "python": sys.executable,
    }
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for line in (f"{lines[0]} --max_epochs 1", *lines[2:]):
        words = [places.get(word, word) for word in shlex.split(line)]
        done = subprocess.run(
            words, cwd=home, env=surroundings, capture_output=True, text=True, check=False, timeout=400
        )
        assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"
    return home


@pytest.mark.slow
def test_evaluation_measures_what_the_engine_measures(bundle, cohort, ran):
    from fedxai.settings import TrainSettings
    from fedxai.train.engine import SiteTrainer

    site = SiteTrainer(bundle=bundle, cases=cohort.splits(), site="site-2", settings=TrainSettings(threads=1))
    site.network.load_state_dict(torch.load(ran / "models" / "model.pt", weights_only=True))
    metrics = site.evaluate("test", intervals=False).metrics
    alone = dict(csv.reader((ran / "eval" / "metrics.csv").read_text().splitlines()))
    assert float(alone["val_mean_dice"]) == pytest.approx(metrics["mean_dice"].value, abs=1e-3)
    assert float(alone["val_hd95"]) == pytest.approx(metrics["mean_hd95"].value, abs=1e-2)


@pytest.mark.slow
def test_inference_writes_a_label_map_on_every_volumes_own_grid(cohort, ran):
    for image in (cohort.folder / "images").iterdir():
        stored = nib.load(image)
        label = nib.load(ran / "eval" / image.name.replace(".nii.gz", "_seg.nii.gz"))
        assert label.shape == stored.shape
        assert np.allclose(label.affine, stored.affine)
        assert set(np.unique(np.asarray(label.dataobj))) <= {0, 1, 2}
