# SPDX-License-Identifier: Apache-2.0
"""The loop over a live server: predict, explain, draw, score, export, a guided federated round, the new model."""

import json
import os
import runpy
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from fedxai.bundle import Bundle
from fedxai.intake.cohort import Cohort
from fedxai.label.grids import read_image, write_answer

ROOM = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parents[1] / "label" / "reading_room.py")))
ROOT = Path(__file__).resolve().parents[2]
BRAIN = "brain_mri_tumor_classification"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def site(tmp_path):
    """Two sites' cohorts without regions, and a global model that has learned nothing yet."""
    from fedxai.intake.phantom import make_phantom

    for index in range(2):
        folder = tmp_path / "cohorts" / f"site-{index + 1}"
        cohort = make_phantom(folder, site=folder.name, index=index, cases=24)
        bare = {split: [_without_region(case) for case in cases] for split, cases in cohort.splits().items()}
        about = {"name": cohort.name, "description": cohort.description, "modality": cohort.modality}
        Cohort.write(folder, **about, class_names=cohort.class_names, splits=bare)
    bundle = Bundle.open(BRAIN)
    model = bundle.export(tmp_path / "served", bundle.network(seed=3).state_dict())
    return SimpleNamespace(root=tmp_path, cohorts=tmp_path / "cohorts", model=model)


def test_what_a_reader_draws_guides_the_next_round_and_comes_back_as_a_new_model(site, tmp_path):
    cases = Cohort.open(site.cohorts / "site-1").cases("training")[:3]
    with ROOM.reading(site.root / "room", model=site.model, images=[case.image for case in cases]) as server:
        client = ROOM.client_of(server, tmp_path)
        before = client.info()["model"]["weights"]
        identity = client.next_sample("highest_uncertainty", {})["id"]
        assert {case.image.name.split(".")[0] for case in cases} >= {identity}
        first = _predicted(client, identity)
        assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-6)

        bands, told = client.infer("saliency", identity, {"saliency_method": "saliency"})
        heat, _ = client.infer("heat_map", identity, {"saliency_method": "saliency"})
        assert told["scores"] == {}
        shown = sitk.GetArrayFromImage(sitk.ReadImage(bands))
        assert np.abs(sitk.GetArrayFromImage(sitk.ReadImage(heat)))[shown == 3].min() > 0

        region = _drawn_beside(shown.transpose(2, 1, 0), server.folder / "studies" / f"{identity}.png")
        segments = [{"name": name, "idx": value} for name, value in {**told["label_names"], "lesion": 4}.items()]
        client.save_label(identity, str(region), params={"label_info": segments, "agreement": 2, "comment": "beside"})
        said = server.ask("GET", f"/feedback/image?image={identity}", role=None).json()["opinions"]
        assert [(one["names"], one["agreement"], one["comment"]) for one in said] == [({"lesion": 4}, 2, "beside")]
        _, told = client.infer("saliency", identity, {"saliency_method": "saliency"})
        assert 0 < told["chance"]["relevance_mass"] < 0.1

        asked = {"methods": ["saliency", "gradient_x_input"]}
        scores = server.ask("POST", "/scoring/explanations?run_sync=true", role=None, json=asked, timeout=300).json()
        assert scores["images"] == 1
        assert scores["methods"]["saliency"]["relevance_mass"]["value"] == pytest.approx(
            told["scores"]["relevance_mass"], abs=1e-4
        )
        asked = server.ask("POST", "/train/next_federated_round?run_sync=true", role=None, json={}, timeout=300)
        assert asked.json()["drawn"] == 1

        _fedxai("label", "export", server.folder / "studies", site.cohorts / "site-1")
        [case] = [case for case in Cohort.open(site.cohorts / "site-1").cases("training") if case.region]
        assert case.image.name.startswith(identity)
        assert (read_image(case.region).voxels > 0).sum() == 20 * 16

        run = site.root / "run"
        line = ("run", _small_job(site.root), "--cohorts", site.cohorts, "--rounds", 1, "--local-epochs", 1)
        _fedxai(*line, "--guidance", "energy", "--out", run)
        [weights] = run.glob(f"server/*/fedxai/last/{BRAIN}/models/model.pt")
        placed = site.model / "models" / "model.pt"
        shutil.copy(weights, placed.with_suffix(".new"))
        os.replace(placed.with_suffix(".new"), placed)

        info = client.info()
        assert info["model"]["weights"] != before
        assert info["train_stats"]["next_federated_round"]["answered"] is True
        second = _predicted(client, identity)
        assert second["model"]["weights"] == info["model"]["weights"]
        assert second["probabilities"] != pytest.approx(first["probabilities"], abs=1e-4)


def _predicted(client, identity):
    """MONAI Label's client hands an answer without a file over as it came."""
    file, told = client.infer("prediction", identity, {})
    assert file is None
    return json.loads(told)


def _without_region(case):
    return replace(case, region=None)


def _small_job(folder: Path) -> Path:
    """The main job with few explained cases: what it explains has tests of its own."""
    job = Path(shutil.copytree(ROOT / "jobs" / "fedxai", folder / "fedxai"))
    config = job / "app" / "config" / "config_fed_client.json"
    values = json.loads(config.read_text())
    [site] = [component for component in values["components"] if component["id"] == "site"]
    site["args"]["explain"] = {"every": 0, "final_cases": 4, "trust_cases": 0, "honesty_cases": 0, "gallery": 0}
    config.write_text(json.dumps(values))
    return job


def _drawn_beside(bands: np.ndarray, image: Path) -> Path:
    """What Slicer saves: the bands that were shown, and a lesion that the reader drew over them."""
    labels = bands.astype(np.uint8)
    labels[40:60, 50:66] = 4
    return write_answer(labels, read_image(image).affine, ".nrrd")


def _fedxai(*arguments: object) -> None:
    line = [str(part) for part in (ROOM.LIVE.FEDXAI, *arguments)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
