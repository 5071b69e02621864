# SPDX-License-Identifier: Apache-2.0
"""A bundle runs alone: the commands of its model card, typed as they stand there."""

import csv
import json
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
from PIL import Image
from sklearn.metrics import roc_auc_score

pytestmark = pytest.mark.slow
FORMAT = "classes"


@pytest.fixture(scope="module")
def cohort(bundle, grid, tmp_path_factory):
    """A tiny cohort: mixed sizes and bit depths; only some cases have a region or tabular values."""
    folder = tmp_path_factory.mktemp("cohort")
    for name in ("images", "regions"):
        (folder / name).mkdir()
    classes = len(bundle.class_names)
    counts = {"training": 4 * classes, "validation": 2 * classes, "test": 3 * classes}
    splits = {}
    for split, count in counts.items():
        splits[split] = [
            _case(folder, f"{split}{i}", label=i % classes, extras=i % 2 == 0, axes=len(grid)) for i in range(count)
        ]
    labels = {str(index): name for index, name in enumerate(bundle.class_names)}
    listed = {"name": "tiny", "description": "synthetic", "modality": {"0": "none"}, "labels": labels}
    totals = {f"num{split.capitalize()}": count for split, count in counts.items()}
    (folder / "dataset.json").write_text(json.dumps({**listed, **totals, **splits}))
    return folder


def _case(folder, name, *, label, extras, axes):
    rng = np.random.default_rng(list(name.encode()))
    pixels = rng.integers(0, 60, (40, 56 + 4 * label)).astype(np.uint16)
    lesion = np.s_[8 + 8 * label : 18 + 8 * label, 10:30]
    pixels[lesion] += 150
    image = _save(folder, f"images/{name}", pixels * 200 if extras else pixels.astype(np.uint8), axes)
    case = {"image": image, "label": label, "group": name}
    if not extras:
        return case
    region = np.zeros(pixels.shape, dtype=np.uint8)
    region[lesion] = 255
    return {**case, "region": _save(folder, f"regions/{name}", region, axes), "tabular": {"age": 40.5}}


def _save(folder, name, pixels, axes):
    """A PNG, or a NIfTI file of 14 such slices, 3 mm thick; returns its path in the cohort."""
    if axes == 2:
        Image.fromarray(pixels).save(folder / f"{name}.png")
        return f"{name}.png"
    nib.save(
        nib.Nifti1Image(np.repeat(pixels[:, :, None], 14, axis=2), np.diag([1, 1, 3, 1])), folder / f"{name}.nii.gz"
    )
    return f"{name}.nii.gz"


@pytest.fixture(scope="module")
def ran(bundle, cohort, tmp_path_factory):
    """A copy of the bundle in which training, evaluation and inference have run, in the card's order."""
    home = tmp_path_factory.mktemp("alone") / bundle.name
    shutil.copytree(bundle.path, home, ignore=shutil.ignore_patterns("models", "eval"))
    for command in _commands(home):
        _run(home, command, cohort)
    return home


def _commands(home):
    """The first command line of the card for each of training, evaluation and inference."""
    lines = re.findall(r"^python -m monai\.bundle run .*$", (home / "docs" / "README.md").read_text(), re.MULTILINE)
    train = next(line for line in lines if "evaluate" not in line and "train.json" in line)
    return [
        f"{train} --max_epochs 1",
        next(line for line in lines if "evaluate.json" in line),
        next(line for line in lines if "inference.json" in line),
    ]


def _run(home, command, cohort):
    places = {"/path/to/cohort": str(cohort), "/path/to/images": str(cohort / "images"), "python": sys.executable}
    words = [places.get(word, word) for word in shlex.split(command)]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(words, cwd=home, env=surroundings, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"


def _predictions(home):
    with (home / "eval" / "predictions.csv").open(newline="") as file:
        return {row[0]: [float(value) for value in row[1:]] for row in csv.reader(file)}


def test_training_leaves_weights_that_load_without_code(bundle, ran):
    weights = torch.load(ran / "models" / "model.pt", map_location="cpu", weights_only=True)
    bundle.network().load_state_dict(weights)


def test_training_leaves_tensorboard_events(ran):
    assert list((ran / "eval").glob("events.out.tfevents*"))


def test_inference_gives_every_image_the_probabilities_of_the_trained_network(bundle, ran, cohort):
    network = bundle.network()
    network.load_state_dict(torch.load(ran / "models" / "model.pt", map_location="cpu", weights_only=True))
    prepare = bundle.parser().get_parsed_content("validate#preprocessing")
    predictions = _predictions(ran)
    files = sorted(str(file) for file in (cohort / "images").iterdir())
    assert sorted(predictions) == files
    images = torch.stack([torch.as_tensor(prepare({"image": file})["image"]) for file in files])
    with torch.no_grad():
        expected = network.eval()(images).softmax(dim=1).numpy()
    np.testing.assert_allclose([predictions[file] for file in files], expected, atol=1e-4)


def test_evaluation_measures_the_trained_network_on_the_test_split(bundle, ran, cohort):
    (name, value), *_ = csv.reader((ran / "eval" / "metrics.csv").read_text().splitlines())
    predictions = _predictions(ran)
    cases = json.loads((cohort / "dataset.json").read_text())["test"]
    scores = np.array([predictions[str(cohort / case["image"])] for case in cases])
    truth = np.eye(len(bundle.class_names))[[case["label"] for case in cases]]
    assert name == "val_macro_auc"
    assert float(value) == pytest.approx(roc_auc_score(truth, scores, average="macro"), abs=1e-6)
