# SPDX-License-Identifier: Apache-2.0
"""A hospital's export in small, and cohorts made of it."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from fedxai.intake.progress import quiet
from fedxai.intake.raster import take_raster
from fedxai.intake.table import Columns
from fedxai.intake.taking import IntakeSettings


def anatomy(seed, size=64):
    """A picture with structure, different for every seed."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random((size, size)), 3, mode="wrap")
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    rows, columns = np.mgrid[:size, :size] - size / 2
    head = np.hypot(rows / 0.46, columns / 0.38) < size
    return np.rint(np.where(head, 40 + 200 * smooth, 4)).astype(np.uint8)


@pytest.fixture
def export(tmp_path):
    """24 patients of 2 images, three classes, masks; returns the folder with ``cases.csv``."""
    folder = tmp_path / "export"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    lines = ["image,mask,label,group,age"]
    for i in range(48):
        Image.fromarray(anatomy(i)).save(folder / f"images/{i:02d}.png")
        mask = np.zeros((64, 64), dtype=np.uint8)
        mask[20 : 30 + i % 5, 20 : 30 + i // 5] = 255
        Image.fromarray(mask).save(folder / f"masks/{i:02d}.png")
        name = ("meningioma", "glioma", "pituitary")[i // 2 % 3]
        lines.append(f"images/{i:02d}.png,masks/{i:02d}.png,{name},patient {i // 2},{30 + i if i % 4 else ''}")
    (folder / "cases.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def take(export, tmp_path):
    """Take the export in, with one key; settings by keyword."""
    key = tmp_path / "site.key"
    key.write_bytes(b"a key that only tests use")

    def run(out=None, *, columns=None, table="cases.csv", gray=False, track=quiet, **settings):
        return take_raster(
            export,
            export / table,
            out or tmp_path / "cohort",
            columns=columns or Columns(),
            settings=IntakeSettings(**{"key": key, **settings}),
            gray=gray,
            track=track,
        )

    return run


@pytest.fixture
def cohort(take):
    return take(validation=0.2, test=0.2).cohort


@pytest.fixture(scope="session")
def shared_data():
    """The folder with real data beside the repository; skips where it is absent."""
    beside = Path(__file__).parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("FEDXAI_SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip("real data is not on this machine")
    return folder
