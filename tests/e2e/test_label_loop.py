# SPDX-License-Identifier: Apache-2.0
"""The loop over a live server, of a folder and of an Orthanc: predict, explain, draw, a guided round, the new model."""

import json
import os
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from fedxai.bundle import Bundle
from fedxai.intake.cohort import Cohort
from fedxai.label.grids import read_image

LABEL = Path(__file__).resolve().parents[1] / "label"
ROOM = SimpleNamespace(**runpy.run_path(str(LABEL / "reading_room.py")))
DESK = SimpleNamespace(**runpy.run_path(str(LABEL / "orthanc_desk.py")))
ORTHANC = SimpleNamespace(**runpy.run_path(str(LABEL / "orthanc.py")))
SERIES = SimpleNamespace(**runpy.run_path(str(LABEL / "dicom_series.py")))
ROOT = Path(__file__).resolve().parents[2]
PICTURES, VOLUMES = "brain_mri_tumor_classification", "brain_mri_lesion_classification"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def _made(root: Path, bundle: str, make: Any, cases: int) -> SimpleNamespace:
    """Two sites' cohorts without regions, and a global model that has learned nothing yet."""
    for index in range(2):
        folder = root / "cohorts" / f"site-{index + 1}"
        cohort = make(folder, site=folder.name, index=index, cases=cases)
        bare = {split: [_without_region(case) for case in cases] for split, cases in cohort.splits().items()}
        about = {"name": cohort.name, "description": cohort.description, "modality": cohort.modality}
        Cohort.write(folder, **about, class_names=cohort.class_names, splits=bare)
    opened = Bundle.open(bundle)
    model = opened.export(root / "served", opened.network(seed=3).state_dict())
    shown = Cohort.open(root / "cohorts" / "site-1").cases("training")[:3]
    return SimpleNamespace(root=root, bundle=bundle, cohorts=root / "cohorts", model=model, shown=shown)


@contextmanager
def _folder(root: Path) -> Iterator[SimpleNamespace]:
    """Pictures in a folder; everybody on loopback may do everything."""
    from fedxai.intake.phantom import make_phantom

    site = _made(root, PICTURES, make_phantom, 24)
    with ROOM.reading(root / "room", model=site.model, images=[case.image for case in site.shown]) as server:
        site.client = ROOM.client_of(server, root)
        site.ask = partial(server.ask, role=None, timeout=300)
        site.exported, site.known = (server.folder / "studies",), {case.image.name.split(".")[0] for case in site.shown}
        yield site


@contextmanager
def _orthanc(root: Path) -> Iterator[SimpleNamespace]:
    """Volumes as series of a real archive, sliced along another axis; a reader who logged in as 3D Slicer does."""
    import nibabel
    import pydicom

    from fedxai.intake.phantom_3d import make_phantom_3d

    site = _made(root, VOLUMES, partial(make_phantom_3d, task="classification"), 40)
    with ORTHANC.running(root) as archive:
        site.known = set()
        for number, case in enumerate(site.shown):
            files = SERIES.write_volume(root / f"series{number}", nibabel.load(case.image), axes="PIR")
            archive.upload(files)
            site.known.add(str(pydicom.dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID))
        with DESK.serving(root / "desk", ["--dicomweb", archive.dicomweb], site.model, "--conf", "device=cpu") as desk:
            site.client = ROOM.client_of(desk, root)
            site.client.update_auth(site.client.auth_token("annotator", desk.tokens["annotator"]))
            site.ask = partial(desk.ask, role="admin")
            site.exported = (desk.state / "archive", "--dicomweb", archive.dicomweb)
            yield site


PLACES = {"folder": _folder, "orthanc": _orthanc}


@pytest.fixture(
    params=["folder", pytest.param("orthanc", marks=pytest.mark.skipif(ORTHANC.MISSING, reason=ORTHANC.WHY))]
)
def site(request, tmp_path):
    with PLACES[request.param](tmp_path) as served:
        yield served


def test_what_a_reader_draws_guides_the_next_round_and_comes_back_as_a_new_model(site, tmp_path):
    client = site.client
    before = client.info()["model"]["weights"]
    identity = client.next_sample("highest_uncertainty", {})["id"]
    assert identity in site.known
    first = _predicted(client, identity)
    assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-6)

    bands, told = client.infer("saliency", identity, {"saliency_method": "saliency"})
    heat, _ = client.infer("heat_map", identity, {"saliency_method": "saliency"})
    assert told["scores"] == {}
    shown = sitk.ReadImage(bands)
    values = sitk.GetArrayFromImage(shown)
    assert np.abs(sitk.GetArrayFromImage(sitk.ReadImage(heat)))[values == 3].min() > 0

    region, count = _drawn_over(shown, tmp_path / "drawn.nrrd")
    segments = [{"name": name, "idx": value} for name, value in {**told["label_names"], "lesion": 4}.items()]
    client.save_label(identity, str(region), params={"label_info": segments, "agreement": 2, "comment": "beside"})
    said = site.ask("GET", f"/feedback/image?image={identity}").json()["opinions"]
    assert [(one["names"], one["agreement"], one["comment"]) for one in said] == [({"lesion": 4}, 2, "beside")]
    _, told = client.infer("saliency", identity, {"saliency_method": "saliency"})
    assert 0 < told["chance"]["relevance_mass"] < 0.1

    asked = {"methods": ["saliency", "gradient_x_input"]}
    scores = site.ask("POST", "/scoring/explanations?run_sync=true", json=asked).json()
    assert scores["images"] == 1
    assert scores["methods"]["saliency"]["relevance_mass"]["value"] == pytest.approx(
        told["scores"]["relevance_mass"], abs=1e-4
    )
    asked = site.ask("POST", "/train/next_federated_round?run_sync=true", json={})
    assert asked.json()["drawn"] == 1

    studies, *archive = site.exported
    _fedxai("label", "export", studies, site.cohorts / "site-1", *archive)
    [case] = [case for case in Cohort.open(site.cohorts / "site-1").cases("training") if case.region]
    assert case.image in [one.image for one in site.shown]
    assert (read_image(case.region).voxels > 0).sum() == count

    run = site.root / "run"
    line = ("run", _small_job(site.root), "--cohorts", site.cohorts, "--bundle", site.bundle, "--rounds", 1)
    _fedxai(*line, "--local-epochs", 1, "--guidance", "energy", "--out", run)
    [weights] = run.glob(f"server/*/fedxai/last/{site.bundle}/models/model.pt")
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
    site["args"]["explain"] = {"final_cases": 4, "trust_cases": 0, "honesty_cases": 0, "gallery": 0}
    config.write_text(json.dumps(values))
    return job


def _drawn_over(bands: sitk.Image, file: Path) -> tuple[Path, int]:
    """What Slicer saves: the bands that were shown, and a lesion that the reader drew over them; its voxels."""
    labels = sitk.GetArrayFromImage(bands)
    depth, rows, columns = labels.shape
    labels[depth // 3 : depth // 3 + 5, rows // 3 : rows // 3 + 12, columns // 3 : columns // 3 + 14] = 4
    drawn = sitk.GetImageFromArray(labels)
    drawn.CopyInformation(bands)
    sitk.WriteImage(drawn, str(file))
    return file, int((labels == 4).sum())


def _fedxai(*arguments: object) -> None:
    line = [str(part) for part in (ROOM.LIVE.FEDXAI, *arguments)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
