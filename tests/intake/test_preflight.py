# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from PIL import Image

from fedxai.errors import CohortError
from fedxai.intake.cohort import Cohort
from fedxai.intake.phantom import make_phantom
from fedxai.intake.phantom_3d import make_phantom_3d
from fedxai.intake.preflight import preflight
from fedxai.intake.volume import Volume


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    return make_phantom(tmp_path / "site-1", site="site-1", index=0, cases=12)


def test_a_whole_cohort_passes(cohort):
    preflight(cohort)


def test_a_truncated_image_is_named(cohort):
    image = cohort.cases("test")[0].image
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(CohortError, match=rf"images/{image.name} cannot be read"):
        preflight(cohort)


def test_a_mask_of_another_size_is_named(cohort):
    region = cohort.cases("test")[0].region
    Image.new("L", (9, 7)).save(region)
    with pytest.raises(CohortError, match=rf"regions/{region.name} must have its image's size .*got \(9, 7\)"):
        preflight(cohort)


def test_a_missing_image_is_named(cohort):
    cohort.cases("training")[0].image.unlink()
    with pytest.raises(CohortError, match="cannot be read"):
        preflight(cohort)


@pytest.fixture
def volumes(tmp_path) -> Cohort:
    return make_phantom_3d(tmp_path / "site-1", site="site-1", index=0, task="segmentation", cases=12)


def test_whole_volumes_and_label_maps_pass(volumes):
    preflight(volumes)


def test_a_volume_cut_short_and_a_label_map_of_another_size_are_named(volumes):
    case = volumes.cases("test")[0]
    whole = case.image.read_bytes()
    case.image.write_bytes(whole[:-100])
    with pytest.raises(CohortError, match=rf"images/{case.image.name} cannot be read"):
        preflight(volumes)
    case.image.write_bytes(whole)
    Volume(voxels=np.zeros((2, 3, 4)), affine=np.eye(4)).write(case.label)
    with pytest.raises(CohortError, match=rf"labels/{case.label.name} must have its image's size .*got \(2, 3, 4\)"):
        preflight(volumes)
