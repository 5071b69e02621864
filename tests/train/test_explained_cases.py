# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Resize, Rotate90
from PIL import Image

from fedxai.records import Case
from fedxai.train.explained_cases import region_batches


@pytest.mark.parametrize(("turned", "expected"), [([], [0.4, 0.3]), ([Rotate90()], [0.3, 0.4])])
def test_a_pictures_spacing_follows_it_onto_the_networks_grid(tmp_path, turned, expected):
    Image.fromarray(np.zeros((60, 40), np.uint8)).save(tmp_path / "a.png")
    load = Compose([LoadImage(image_only=True), EnsureChannelFirst(), Resize((20, 20)), *turned])

    def prepare(case):
        return [{"image": load(case.image), "label": 0, "region": torch.zeros(1, 20, 20), "has_region": False}]

    known = Case(image=tmp_path / "a.png", label=0, spacing=(0.1, 0.2))  # 60 rows of 0.1 mm, 40 columns of 0.2 mm
    (batch,) = region_batches([known], prepare, batch_size=1)
    assert batch["spacing"].tolist() == [pytest.approx(expected)]
    (batch,) = region_batches([Case(image=known.image, label=0)], prepare, batch_size=1)
    assert sorted(batch["spacing"].tolist()[0]) == [2, 3]  # unknown: in pixels of the file
