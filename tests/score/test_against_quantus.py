# SPDX-License-Identifier: Apache-2.0
"""Scores against Quantus 0.6.0: what it said stands in a table, and where it is installed it is asked again.

It needs OpenCV, and its extra for PyTorch asks for torchvision, which it does not need here; so it has an environment
of its own, beside ours: ``pip install --no-deps quantus==0.6.0 opencv-python-headless``.
"""

import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from fedxai.explain import explain_batch
from fedxai.score import Asked, score_map
from fedxai.score.imputation import impute
from fedxai.score.max_sensitivity import MaxSensitivity
from fedxai.score.noise_agreement import DRAWS, STRENGTH
from fedxai.score.randomisation import Randomisation, randomised_map

live = pytest.mark.skipif(find_spec("quantus") is None, reason="Quantus has an environment of its own")
METRICS = {
    "relevance_mass": "RelevanceMassAccuracy",
    "relevance_rank": "RelevanceRankAccuracy",
    "pointing_game": "PointingGame",
    "gini": "Sparseness",
    "entropy": "Complexity",
}
EXPECTED = {
    "relevance_mass": [0.109434, 0.114609, 0.081447, 0.066803],
    "relevance_rank": [0.05, 0.1875, 0.166667, 0.25],
    "pointing_game": [0.0, 0.0, 0.0, 1.0],
    "gini": [0.447339, 0.440056, 0.420192, 0.432412],
    "entropy": [4.636147, 4.636927, 4.681066, 4.655245],
}
AS_THEY_ARE = {"abs": False, "normalise": False, "disable_warnings": True}


@pytest.fixture
def drawn():
    """Maps and regions of four cases."""
    maps = np.random.default_rng(7).standard_normal((4, 1, 12, 12)).astype("float32")
    regions = np.zeros((4, 1, 12, 12))
    for i in range(4):
        regions[i, 0, 2 + i : 6 + i, 3 : 8 - i] = 1
    return maps, regions


@pytest.fixture
def asked(stripes, stripes_cases):
    images, labels = stripes_cases["image"][:3], stripes_cases["label"][:3]
    return Asked(network=stripes, inputs=images, targets=labels, method="saliency")


@pytest.mark.parametrize("name", list(EXPECTED))
def test_a_score_is_what_quantus_said(name, drawn):
    maps, regions = drawn
    scale = math.log(144) if name == "entropy" else 1.0  # ours is divided by its largest value
    got = score_map(torch.from_numpy(maps), torch.from_numpy(regions))[name] * scale
    assert got.tolist() == pytest.approx(EXPECTED[name], abs=2e-5)


@live
@pytest.mark.parametrize("name", list(EXPECTED))
def test_quantus_still_says_so(name, drawn):
    import quantus

    maps, regions = drawn
    metric = getattr(quantus, METRICS[name])(**{**AS_THEY_ARE, "abs": True})
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 2))  # asked for, not used
    said = metric(model=network, x_batch=np.abs(maps), y_batch=np.zeros(4, int), a_batch=maps, s_batch=regions)
    assert [float(value) for value in said] == pytest.approx(EXPECTED[name], abs=1e-5)


@live
def test_max_sensitivity_is_that_of_quantus_with_the_same_noise(asked):
    import quantus

    draws = iter(range(1, DRAWS + 1))

    def perturb(arr, indices, **_):
        spread = arr.std(axis=1, ddof=1, keepdims=True)
        return arr + STRENGTH * spread * asked.noise(next(draws)).flatten().numpy()

    def explain(model, inputs, targets, **_):
        images, classes = torch.as_tensor(inputs).to(asked.inputs), torch.as_tensor(targets)
        return explain_batch(model, images, targets=classes, methods=["saliency"]).maps["saliency"].numpy()

    images, classes = asked.inputs.numpy(), asked.question.classes.numpy()
    metric = quantus.MaxSensitivity(nr_samples=DRAWS, perturb_func=perturb, **AS_THEY_ARE)
    said = metric(
        model=asked.network,
        x_batch=images,
        y_batch=classes,
        a_batch=asked.relevance[:, None].numpy(),
        explain_func=explain,
    )
    assert MaxSensitivity().value(asked).tolist() == pytest.approx([float(value) for value in said], rel=1e-4)


@live
def test_randomisation_is_quantus_rank_correlation_of_the_two_maps(asked):
    """Over the voxels where one of them is not 0."""
    from quantus.functions.similarity_func import correlation_spearman

    pairs = zip(asked.relevance.numpy(), randomised_map(asked, 1.0).numpy(), strict=True)
    said = [float(correlation_spearman(*(part[(one != 0) | (two != 0)] for part in (one, two)))) for one, two in pairs]
    assert Randomisation().value(asked).tolist() == pytest.approx(said, abs=1e-9)


@live
def test_imputation_is_near_that_of_quantus_road(stripes_cases):
    """Theirs solves the paper's system, which also weighs diagonal neighbours."""
    from quantus.functions.perturb_func import noisy_linear_imputation

    image = stripes_cases["image"][:1]
    image = torch.nn.functional.avg_pool2d(image, 4)
    hidden = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(4)) < 0.4
    places = hidden.flatten().nonzero().flatten().numpy()
    said = noisy_linear_imputation(arr=image[0].numpy(), indices=places, noise=0.0)
    own = impute(image, hidden, torch.zeros_like(image)).flatten(1)
    error = (own - torch.as_tensor(said).reshape(own.shape)).square().mean().sqrt()
    assert float(error) < 0.1 * float(image.std())
