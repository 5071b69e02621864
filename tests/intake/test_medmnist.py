# SPDX-License-Identifier: Apache-2.0
"""A MedMNIST file keeps its official splits, less what leaks."""

import numpy as np
import pytest

from fedxai.errors import CohortError
from fedxai.intake.medmnist import take_medmnist


def _file(folder, **changes):
    rng = np.random.default_rng(0)
    arrays = {}
    for word, count in (("train", 20), ("val", 6), ("test", 8)):
        arrays[f"{word}_images"] = rng.integers(0, 255, (count, 28, 28), dtype=np.uint8)
        arrays[f"{word}_labels"] = (np.arange(count) % 2)[:, None].astype(np.uint8)
    arrays |= changes
    path = folder / "toymnist.npz"
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path, arrays


def test_official_splits_are_kept(tmp_path):
    path, _ = _file(tmp_path)
    taken = take_medmnist(path, tmp_path / "out", class_names=["no", "yes"])
    assert taken.cohort.counts().model_dump() == {"training": 20, "validation": 6, "test": 8}
    assert taken.cohort.class_names == ["no", "yes"]
    assert taken.notes == []


def test_a_repeat_across_splits_stays_in_the_test_and_one_within_a_split_shares_its_group(tmp_path):
    path, arrays = _file(tmp_path)
    images = arrays["train_images"]
    images[4], images[6] = arrays["test_images"][0], arrays["val_images"][0]
    images[10] = images[8]
    arrays["val_images"][2] = arrays["test_images"][2]
    path, _ = _file(tmp_path, **arrays)
    taken = take_medmnist(path, tmp_path / "out")
    assert taken.cohort.counts().model_dump() == {"training": 18, "validation": 5, "test": 8}
    groups = [case.group for case in taken.cohort.cases("training")]
    assert len(groups) - len(set(groups)) == 1
    assert taken.notes[0].startswith("4 of 34 images repeat")
    assert taken.notes[1].startswith("3 of them were left out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_images": None}, "lacks val_images"),
        ({"test_labels": np.zeros((8, 14), dtype=np.uint8)}, "one label per image"),
        ({"train_images": np.zeros((20, 28, 28, 28), dtype=np.uint8)}, "must be uint8"),
        ({"train_images": np.zeros((20, 28, 28))}, "must be uint8"),
        ({"train_labels": np.array([[object()]] * 20)}, "not a readable"),
    ],
)
def test_another_layout_is_refused(tmp_path, changes, message):
    path, _ = _file(tmp_path, **changes)
    with pytest.raises(CohortError, match=message):
        take_medmnist(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_missing_or_no_archive_is_refused(tmp_path):
    with pytest.raises(CohortError, match="does not exist"):
        take_medmnist(tmp_path / "gone.npz", tmp_path / "out")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(CohortError, match="not a readable"):
        take_medmnist(tmp_path / "bad.npz", tmp_path / "out")


def test_too_few_class_names_are_refused(tmp_path):
    path, _ = _file(tmp_path)
    with pytest.raises(CohortError, match="must name all 2 classes, got 1"):
        take_medmnist(path, tmp_path / "out", class_names=["no"])


def test_the_real_pneumonia_set_loses_only_what_leaks(shared_data, tmp_path):
    taken = take_medmnist(shared_data / "pneumonia_mnist/pneumoniamnist.npz", tmp_path / "out")
    assert taken.cohort.counts().model_dump() == {"training": 4698, "validation": 524, "test": 624}
