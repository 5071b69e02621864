# SPDX-License-Identifier: Apache-2.0
"""Maps as files: upright, signed, on one grid with their image."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np

from fedxai.report.map_files import write_maps


def case(shape: tuple[int, ...], **more: Any) -> Any:
    generator = np.random.default_rng(0)
    region = np.zeros((1, *shape[1:]), bool)
    region[..., 1:3, 2:4] = True
    fields = {
        "image": generator.random(shape, dtype=np.float32),
        "region": region,
        "maps": {"saliency": generator.normal(size=(1, *shape[1:])).astype(np.float32)},
    }
    return SimpleNamespace(**{**fields, **more})


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image: Any = nibabel.load(path)
    return np.asarray(image.dataobj), image.affine


def test_a_2d_map_keeps_its_signs_and_is_stored_upright(tmp_path: Path) -> None:
    shown = case((1, 6, 9))
    write_maps(shown, tmp_path)
    stored, affine = read(tmp_path / "saliency.nii.gz")
    assert np.array_equal(stored[:, :, 0].T, shown.maps["saliency"][0])
    assert stored.min() < 0
    # x runs to the patient's left and y to the back: to the right and down on a screen
    assert np.array_equal(np.diag(affine), (-1, -1, 1, 1))
    assert (tmp_path / "saliency.png").is_file()


def test_a_volume_keeps_its_axes_and_has_no_picture(tmp_path: Path) -> None:
    shown = case((1, 5, 6, 7))
    write_maps(shown, tmp_path)
    stored, affine = read(tmp_path / "saliency.nii.gz")
    assert np.array_equal(stored, shown.maps["saliency"][0])
    assert np.array_equal(affine, np.eye(4))
    assert list(tmp_path.glob("*.png")) == []


def test_image_region_and_map_lie_on_one_grid(tmp_path: Path) -> None:
    write_maps(case((3, 6, 9)), tmp_path)
    arrays = {path.name.split(".")[0]: read(path) for path in tmp_path.glob("*.nii.gz")}
    assert {name: array.shape for name, (array, _) in arrays.items()} == {
        "image": (9, 6, 1, 3),
        "region": (9, 6, 1),
        "saliency": (9, 6, 1),
    }
    assert arrays["region"][0].dtype == np.uint8
    assert arrays["region"][0].sum() == 4


def test_a_case_without_a_region_has_no_region_file(tmp_path: Path) -> None:
    write_maps(case((1, 6, 9), region=None), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.nii.gz", "saliency.nii.gz", "saliency.png"]
