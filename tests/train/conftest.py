# SPDX-License-Identifier: Apache-2.0
"""Volumes of 12 to 16 voxels an axis with bright boxes to find, for the tiny segmentation."""

import nibabel as nib
import numpy as np
import pytest

from fedxai.records import SPLITS, Case


@pytest.fixture(scope="session")
def make_volume(tmp_path_factory):
    """Write a case of two boxes, and give it; ``values`` are the labels of the boxes."""
    home = tmp_path_factory.mktemp("volumes")

    def make(name, *, values=(1, 2), spacing=(1.0, 1.0, 1.0), shape=(14, 12, 13)):
        rng = np.random.default_rng(list(name.encode()))
        labels = np.zeros(shape, dtype=np.uint8)
        place = rng.integers(2, 5)
        labels[place : place + 3, 3:8, 3:8] = values[0]
        labels[place + 3 : place + 6, 3:8, 3:8] = values[1]
        image = (rng.random(shape) * 100 + 200 * labels).astype(np.float32)
        for kind, voxels in (("image", image), ("label", labels)):
            nib.save(nib.Nifti1Image(voxels, np.diag([*spacing, 1.0])), home / f"{name}_{kind}.nii.gz")
        return Case(image=home / f"{name}_image.nii.gz", label=home / f"{name}_label.nii.gz", group=name)

    return make


@pytest.fixture(scope="session")
def volume_cases(make_volume):
    """Four training, three validation and three test cases."""
    counts = dict(zip(SPLITS, (4, 3, 3), strict=True))
    return {split: [make_volume(f"{split}{i}") for i in range(count)] for split, count in counts.items()}
