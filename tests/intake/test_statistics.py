# SPDX-License-Identifier: Apache-2.0
"""Data statistics of a cohort against NumPy over all of its training images at once."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from fedxai.errors import CohortError
from fedxai.intake.cohort import Cohort
from fedxai.intake.pixels import read_image
from fedxai.intake.statistics import bin_counts, cohort_statistics
from fedxai.records import Case
from fedxai.records_statistics import BINS, edge


@pytest.fixture(scope="module")
def cohort(phantom_root) -> Cohort:
    return Cohort.open(phantom_root / "site-1")


def test_every_value_lies_between_the_edges_of_its_bin():
    values = np.array([[-1e9, -1024, -1, -0.001, 0], [0.001, 0.5, 255, 65535, 1e9]])
    for value in values.ravel():
        [b] = np.flatnonzero(bin_counts(np.array([[value]])))
        assert edge(int(b)) <= value or b == 0
        assert value < edge(int(b) + 1) or b == BINS - 1
    assert bin_counts(values).sum() == values.size


def test_a_bin_is_as_wide_as_the_docstring_says():
    for b in range(BINS // 2 + 300, BINS):
        assert (edge(b + 1) - edge(b)) / edge(b) == pytest.approx(0.016, abs=0.001)
    assert edge(BINS // 2) == 0
    assert edge(BINS // 2 + 1) == pytest.approx(0.00016, abs=1e-5)


def test_counts_shares_and_cases_are_those_of_the_images(cohort):
    told = cohort_statistics(cohort, group=5)
    training = cohort.cases("training")
    assert told.cases == cohort.counts()
    assert told.classes == [sum(case.label == index for case in training) for index in range(3)]
    images = np.stack([read_image(case.image, what="image") for case in training])
    edges = [edge(b) for b in range(BINS + 1)]
    by_hand = np.stack([np.histogram(image, bins=edges)[0] for image in images])
    shares, reached = 100 * by_hand.mean(axis=0) / images[0].size, (by_hand > 0).sum(axis=0)
    assert [part.bin for part in told.histogram] == np.flatnonzero(reached).tolist()
    for part in told.histogram:
        assert part.share.value == pytest.approx(shares[part.bin], abs=1e-4)
        assert part.share.n == reached[part.bin]
    assert [(axis.middle.value, axis.low.value, axis.high.value) for axis in told.shape] == [(128, 128, 128)] * 2
    assert told.spacing == []


@pytest.fixture
def volumes(tmp_path) -> Cohort:
    """20 training cases with label maps; sizes 4 to 23 along x, spacing 0.5 to 2.4 mm along z."""
    cases = []
    for index in range(20):
        affine = np.diag([1.0, 1.0, 0.5 + index / 10, 1.0])
        voxels = np.full((4 + index, 3, 2), index - 10, np.float32)
        label = np.zeros(voxels.shape, np.uint8)
        label[0, 0, 0] = 1 if index < 7 else 0
        for name, content in (("image", voxels), ("label", label)):
            nib.save(nib.Nifti1Image(content, affine), tmp_path / f"{name}{index}.nii.gz")
        image, label_map = (tmp_path / f"{name}{index}.nii.gz" for name in ("image", "label"))
        cases.append(Case(image=image, label=label_map, group=str(index)))
    splits = {"training": cases}
    return Cohort.write(
        tmp_path, name="v", description="", modality="MR", class_names=["background", "lesion"], splits=splits
    )


def test_of_volumes_the_ends_are_means_over_a_group_and_classes_are_maps_that_show_them(volumes):
    told = cohort_statistics(volumes, group=5)
    assert told.classes == [20, 7]
    x, z = told.shape[0], told.spacing[2]
    assert (x.low.value, x.middle.value, x.high.value) == (6, 13, 21)  # of 4..8, 11..15, 19..23
    assert (z.low.value, z.middle.value, z.high.value) == (0.7, 1.4, 2.2)
    assert {end.n for end in (x.low, x.middle, x.high, z.low, z.middle, z.high)} == {5}
    assert len(told.spacing) == len(told.shape) == 3


def test_groups_that_would_overlap_tell_the_middle_of_all_cases_only(volumes):
    x = cohort_statistics(volumes, group=7).shape[0]
    assert (x.low.value, x.high.value) == (None, None)
    assert (x.middle.value, x.middle.n) == (13.5, 20)


def test_an_image_that_cannot_be_read_is_refused(cohort, tmp_path):
    shutil.copytree(cohort.folder, tmp_path / "broken")
    broken = Cohort.open(tmp_path / "broken")
    broken.cases("training")[3].image.write_bytes(b"no image")
    with pytest.raises(CohortError):
        cohort_statistics(broken, group=5)
