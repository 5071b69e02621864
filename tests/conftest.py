# SPDX-License-Identifier: Apache-2.0
"""What the tests of several rooms share: the bundle, small phantom cohorts, and where the repository is."""

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")
settings.register_profile("shared machine", deadline=None)  # how long an example takes says nothing there
settings.load_profile("shared machine")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Finds a port that is free together with the next one, which FLARE's admin takes."""

    def find() -> int:
        for _ in range(100):
            with socket.socket() as first, socket.socket() as second, contextlib.suppress(OSError, OverflowError):
                first.bind(("127.0.0.1", 0))
                second.bind(("127.0.0.1", first.getsockname()[1] + 1))
                return first.getsockname()[1]
        raise AssertionError("no two free ports beside each other")

    return find


@pytest.fixture
def little_room():
    """No file grows beyond so many bytes inside the block: what a full disk does, without one."""
    import resource

    @contextlib.contextmanager
    def limit(size: int):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


@pytest.fixture(scope="session")
def brain_bundle():
    from fedxai.bundle import Bundle

    return Bundle.open("brain_mri_tumor_classification")


@pytest.fixture(scope="session")
def tiny_bundle(repository, tmp_path_factory):
    """The hippocampus bundle with a smaller grid and a network of 400 weights."""
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
def explaining():
    """Copies a job into a folder, with other settings of its explanations: the costly questions are most of a run."""

    def copy(job: Path, folder: Path, **settings: int) -> Path:
        from fedxai.flare.kit import edit_json

        made = shutil.copytree(job, folder / job.name)
        edit_json(
            made / "app" / "config" / "config_fed_client.json",
            lambda client: client["components"][0]["args"]["explain"].update(settings),
        )
        return made

    return copy


@pytest.fixture(scope="session")
def little() -> dict[str, int]:
    """Settings of explanations without the costly questions."""
    return {"trust_cases": 0, "honesty_cases": 0, "shortcut_cases": 0, "gallery": 0}


@pytest.fixture(scope="session")
def phantom_root(tmp_path_factory) -> Path:
    """Three small phantom cohorts of unequal size, made once."""
    from fedxai.intake.phantom import make_phantom

    root = tmp_path_factory.mktemp("cohorts")
    for index, cases in enumerate((40, 60, 90)):
        make_phantom(root / f"site-{index + 1}", site=f"site-{index + 1}", index=index, cases=cases)
    return root


@pytest.fixture(scope="session")
def phantom_cases(phantom_root):
    """The cases of the three phantom cohorts, by site and split."""
    from fedxai.intake.cohort import Cohort, site_cohorts

    return {site: Cohort.open(path).splits() for site, path in site_cohorts(phantom_root).items()}
