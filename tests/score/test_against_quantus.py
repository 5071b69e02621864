# SPDX-License-Identifier: Apache-2.0
"""Scores against Quantus 0.6.0, which needs an environment of its own; this made the table (abs, not normalised)::

random = np.random.default_rng(7)
maps = random.standard_normal((4, 1, 12, 12)).astype("float32")
regions = np.zeros((4, 1, 12, 12))
for i in range(4):
    regions[i, 0, 2 + i : 6 + i, 3 : 8 - i] = 1
images = random.random((4, 1, 12, 12)).astype("float32")
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 2))  # asked for, not used
for metric in (quantus.RelevanceMassAccuracy, quantus.RelevanceRankAccuracy, quantus.PointingGame,
               quantus.Sparseness, quantus.Complexity):
    print(metric(abs=True, normalise=False)(
        model=network, x_batch=images, y_batch=np.zeros(4, int), a_batch=maps, s_batch=regions))
"""

import math

import numpy as np
import pytest
import torch

from fedxai.score import score_map

EXPECTED = {
    "relevance_mass": [0.109434, 0.114609, 0.081447, 0.066803],
    "relevance_rank": [0.05, 0.1875, 0.166667, 0.25],
    "pointing_game": [0.0, 0.0, 0.0, 1.0],
    "gini": [0.447339, 0.440056, 0.420192, 0.432412],
    "entropy": [4.636147, 4.636927, 4.681066, 4.655245],
}


@pytest.mark.parametrize("name", list(EXPECTED))
def test_a_score_is_that_of_quantus(name):
    maps = np.random.default_rng(7).standard_normal((4, 1, 12, 12)).astype("float32")
    regions = np.zeros((4, 1, 12, 12))
    for i in range(4):
        regions[i, 0, 2 + i : 6 + i, 3 : 8 - i] = 1
    scale = math.log(144) if name == "entropy" else 1.0  # ours is divided by its largest value
    got = score_map(torch.from_numpy(maps), torch.from_numpy(regions))[name] * scale
    assert got.tolist() == pytest.approx(EXPECTED[name], abs=2e-5)
