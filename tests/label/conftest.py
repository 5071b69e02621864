# SPDX-License-Identifier: Apache-2.0
"""Models and cases for the tests of the reading room: small, untrained where only places matter."""

import runpy
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """Exports a shipped bundle with fresh weights, once each."""
    from fedxai.bundle import Bundle

    known: dict[str, Path] = {}

    def export(name: str) -> Path:
        if name not in known:
            bundle = Bundle.open(name)
            known[name] = bundle.export(tmp_path_factory.mktemp("untrained"), bundle.network(seed=3).state_dict())
        return known[name]

    return export


@pytest.fixture(scope="session")
def cohort_2d(tmp_path_factory):
    from fedxai.intake.phantom import make_phantom

    return make_phantom(tmp_path_factory.mktemp("pictures") / "site-1", site="site-1", index=0, cases=24)


@pytest.fixture(scope="session")
def cohort_3d(tmp_path_factory):
    """Volumes of lesions (classification) and of structures (segmentation), slices 3 mm thick."""
    from fedxai.intake.phantom_3d import make_phantom_3d

    root = tmp_path_factory.mktemp("volumes")
    return {
        task: make_phantom_3d(root / task, site="site-2", index=1, task=task, cases=12)
        for task in ("classification", "segmentation")
    }


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    """An archive of a test module's own."""
    start = runpy.run_path(str(Path(__file__).with_name("orthanc.py")))["running"]
    with start(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(scope="session")
def reading_app():
    """Makes the app on copies of some images, in this process, without a server around it."""
    from fedxai.label import shims

    shims.apply()
    from fedxai.label.app.main import FedxaiLabelApp

    def make(folder: Path, *, model: Path, images: list[Path], **conf: str):
        studies = folder / "studies"
        studies.mkdir(parents=True)
        for image in images:
            shutil.copy(image, studies)
        (folder / "app").mkdir()
        conf = {"device": "cpu", **conf, "model": str(model)}
        return FedxaiLabelApp(app_dir=str(folder / "app"), studies=str(studies), conf=conf)

    return make
