# SPDX-License-Identifier: Apache-2.0
"""Every bundle of the repository, and hand-written pictures to run it on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fedxai.bundle import Bundle

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
NAMES = sorted(configs.parent.name for configs in BUNDLES.glob("*/configs"))


def pytest_generate_tests(metafunc):
    """A test file that sets AXES and FORMAT is for the bundles of so many spatial axes and of that output."""
    if "bundle" not in metafunc.fixturenames:
        return
    axes, wanted = getattr(metafunc.module, "AXES", None), getattr(metafunc.module, "FORMAT", None)
    formats = {n: json.loads((BUNDLES / n / "configs/metadata.json").read_text())["network_data_format"] for n in NAMES}
    chosen = [
        name
        for name, known in formats.items()
        if axes in (None, len(known["inputs"]["image"]["spatial_shape"]))
        and wanted in (None, known["outputs"]["pred"]["format"])
    ]
    metafunc.parametrize("bundle", chosen, indirect=True, scope="session")


@pytest.fixture(scope="session")
def bundle(request) -> Bundle:
    return Bundle.open(BUNDLES / request.param)


@pytest.fixture(scope="session")
def grid(bundle) -> tuple[int, ...]:
    """The spatial shape of the network's input, as the metadata promises it."""
    return tuple(bundle.metadata["network_data_format"]["inputs"]["image"]["spatial_shape"])


@pytest.fixture
def network(bundle):
    return bundle.network(seed=1)


@pytest.fixture
def prepare(bundle):
    """Give a file to the preprocessing of validation; returns the network's input."""
    transform = bundle.parser().get_parsed_content("validate#preprocessing")
    return lambda file: torch.as_tensor(transform({"image": str(file), "label": 0})["image"])


@pytest.fixture
def picture(tmp_path):
    """Write an array of uint8 or uint16 as a grey-scale PNG."""

    def write(pixels, name="picture.png"):
        Image.fromarray(pixels).save(tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def anatomy():
    """A wide picture, 40 x 72, bright and unsymmetric inside, black around."""
    pixels = np.zeros((40, 72), dtype=np.uint8)
    pixels[6:34, 10:64] = np.random.default_rng(0).integers(40, 200, (28, 54))
    pixels[8:16, 44:60] = 240
    return pixels
