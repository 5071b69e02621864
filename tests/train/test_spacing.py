# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Resized, Rotate90d
from PIL import Image

from fedxai.records import Case
from fedxai.train.spacing import Spacing, keep_places

ROWS, COLUMNS = 0.1, 0.2  # mm; 60 rows and 40 columns become 20 of each
READ_BY = {"columns first": [0.4, 0.3], "rows first": [0.3, 0.4]}


def transform(reading: str, *after) -> Compose:
    how = {"reverse_indexing": False} if reading == "rows first" else {}
    load = LoadImaged("image", reader="PILReader", image_only=True, **how)
    return Compose([load, EnsureChannelFirstd("image"), Resized("image", (20, 20)), *after])


def picture(folder: Path) -> Path:
    Image.fromarray(np.zeros((60, 40), np.uint8)).save(folder / "a.png")
    return folder / "a.png"


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("reading", READ_BY)
def test_a_pictures_spacing_follows_it_onto_the_networks_grid(tmp_path, reading, turned):
    bring = transform(reading, *[Rotate90d("image")] * turned)
    prepared = bring({"image": str(picture(tmp_path))})["image"]
    case = Case(image=tmp_path / "a.png", label=0, spacing=(ROWS, COLUMNS))
    expected = READ_BY[reading][::-1] if turned else READ_BY[reading]
    assert Spacing(bring).of(prepared, case) == pytest.approx(expected)


def test_what_nobody_says_is_not_known(tmp_path):
    bring = transform("rows first")
    prepared = bring({"image": str(picture(tmp_path))})["image"]
    assert Spacing(bring).of(prepared, Case(image=tmp_path / "a.png", label=0)) is None
    known = Case(image=tmp_path / "a.png", label=0, spacing=(ROWS, COLUMNS))
    assert Spacing(bring).of(torch.zeros(1, 20, 20), known) is None


def test_a_volumes_spacing_is_its_files(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((20, 20, 20), np.float32), np.diag([1, 2, 3, 1])), tmp_path / "a.nii.gz")
    load = Compose([LoadImaged("image", image_only=True), EnsureChannelFirstd("image")])
    prepared = load({"image": str(tmp_path / "a.nii.gz")})["image"]
    case = Case(image=tmp_path / "a.nii.gz", label=0)
    assert Spacing(load).of(prepared, case) == pytest.approx([1, 2, 3])
    batch = torch.stack([prepared, prepared])
    assert Spacing(load).of(batch[1], case) == pytest.approx([1, 2, 3])


def test_places_are_kept_wherever_a_configuration_drops_them():
    steps = [{"_target_": "EnsureTyped", "track_meta": False}, {"_target_": "EnsureTyped"}]
    config = {"train": {"transforms": steps}, "track_meta": False}
    keep_places(config)
    assert config == {"train": {"transforms": [{**steps[0], "track_meta": True}, steps[1]]}, "track_meta": True}
