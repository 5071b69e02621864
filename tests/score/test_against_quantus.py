# SPDX-License-Identifier: Apache-2.0
"""Scores against Quantus 0.6.0: what it said stands in a table, and where it is installed it is asked again.

It needs OpenCV, and its extra for PyTorch asks for torchvision, which it does not need here; so it has an environment
of its own, beside ours: ``pip install --no-deps quantus==0.6.0 opencv-python-headless``.
Quantus has no counterpart of ``iou_best`` (no oracle threshold), ``iou_fixed`` (its top-k intersection is a share of
k, not of the union), ``relevance_mass_corrected`` and ``relevance_mass_margin`` (no correction for chance, no
margin), the gains (no random or mirrored map), ``method_agreement`` and ``model_agreement`` (one method and one trained
network at a time), and ``rotation_agreement`` (no map is turned back); its infidelity takes 2D images only.
"""

import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from fedxai.explain import explain_batch
from fedxai.score import MODEL_SCORES, Asked, score_map
from fedxai.score.curves import SHARES
from fedxai.score.imputation import impute
from fedxai.score.infidelity import DRAWS as BOXES
from fedxai.score.infidelity import _box
from fedxai.score.noise_agreement import DRAWS, STRENGTH
from fedxai.score.randomisation import Randomisation, randomised_map

live = pytest.mark.skipif(find_spec("quantus") is None, reason="Quantus has an environment of its own")
GRIDS = {2: (12, 12), 3: (7, 6, 4)}  # a cell of a deletion curve is a voxel here
AS_THEY_ARE = {"abs": False, "normalise": False, "disable_warnings": True}
METRICS = {
    "relevance_mass": ("RelevanceMassAccuracy", {"abs": True}),
    "relevance_mass_positive": ("AttributionLocalisation", {"positive_attributions": True}),
    "relevance_mass_signed": ("RelevanceMassAccuracy", {}),  # AttributionLocalisation gives NaN above 1
    "relevance_rank": ("RelevanceRankAccuracy", {"abs": True}),
    "pointing_game": ("PointingGame", {"abs": True}),
    "gini": ("Sparseness", {"abs": True}),
    "entropy": ("Complexity", {"abs": True}),
}
EXPECTED = {
    ("relevance_mass", 2): [0.109434, 0.114609, 0.081447, 0.066803],
    ("relevance_mass", 3): [0.174185, 0.209735, 0.115681, 0.05758],
    ("relevance_mass_positive", 2): [0.097233, 0.099188, 0.104926, 0.023452],
    ("relevance_mass_positive", 3): [0.153238, 0.174103, 0.151245, 0.071424],
    ("relevance_mass_signed", 2): [0.148935, 0.197499, -1.757026, 0.134944],
    ("relevance_mass_signed", 3): [0.237512, 0.550533, -0.04887, -0.10103],
    ("relevance_rank", 2): [0.05, 0.1875, 0.166667, 0.25],
    ("relevance_rank", 3): [0.138889, 0.185185, 0.111111, 0.0],
    ("pointing_game", 2): [0.0, 0.0, 0.0, 1.0],
    ("pointing_game", 3): [0.0, 1.0, 0.0, 0.0],
    ("gini", 2): [0.447339, 0.440056, 0.420192, 0.432412],
    ("gini", 3): [0.438101, 0.45018, 0.392357, 0.450856],
    ("entropy", 2): [4.636147, 4.636927, 4.681066, 4.655245],
    ("entropy", 3): [4.80306, 4.780639, 4.864533, 4.789649],
}


def drawn(dims):
    """Maps and regions of four cases."""
    maps = np.random.default_rng(7).standard_normal((4, 1, *GRIDS[dims])).astype("float32")
    regions = np.zeros(maps.shape)
    for i in range(4):
        place = {2: (slice(2 + i, 6 + i), slice(3, 8 - i)), 3: (slice(i, 3 + i), slice(1, 5 - i), slice(0, 3))}[dims]
        regions[(i, 0, *place)] = 1
    return maps, regions


@pytest.fixture(params=GRIDS, ids=lambda dims: f"{dims}D")
def asked(request):
    """A network of four layers with weights, and maps that are 0 nowhere."""
    return small(request.param)


def small(dims):
    """See :func:`asked`."""
    convolution, pool = {2: (nn.Conv2d, nn.AdaptiveAvgPool2d), 3: (nn.Conv3d, nn.AdaptiveAvgPool3d)}[dims]
    with torch.random.fork_rng():
        torch.manual_seed(dims)
        network = nn.Sequential(
            convolution(1, 6, 3, padding=1),
            nn.GroupNorm(2, 6),
            nn.ReLU(),
            convolution(6, 6, 3, padding=1),
            nn.ReLU(),
            pool(2),
            nn.Flatten(),
            nn.Linear(6 * 2**dims, 2),
        )
        with torch.no_grad():
            network[1].weight.uniform_(0.5, 2)  # else a normalisation drawn anew is as it was
            network[-1].weight.mul_(8)
        inputs = torch.rand(3, 1, *GRIDS[dims])
    targets = torch.tensor([1, 0, 1])
    return Asked(network=network.eval(), inputs=inputs, targets=targets, method="gradient_x_input")


def said(metric, asked, **call):
    """What a metric of Quantus says of the method's maps."""

    def explain(model, inputs, targets, **_):
        images, classes = torch.as_tensor(inputs).to(asked.inputs), torch.as_tensor(targets)
        (whole,) = explain_batch(model, images, targets=classes, methods=["gradient_x_input"]).maps.values()
        return whole.numpy()

    return metric(
        model=asked.network,
        x_batch=asked.inputs.numpy(),
        y_batch=asked.question.classes.numpy(),
        a_batch=asked.relevance[:, None].numpy(),
        explain_func=explain,
        channel_first=True,
        **call,
    )


def own(name, asked):
    return MODEL_SCORES.make(name).value(asked).tolist()


@pytest.mark.parametrize(("name", "dims"), EXPECTED)
def test_a_score_is_what_quantus_said(name, dims):
    maps, regions = drawn(dims)
    scale = math.log(math.prod(GRIDS[dims])) if name == "entropy" else 1.0  # ours is divided by its largest value
    got = score_map(torch.from_numpy(maps), torch.from_numpy(regions))[name] * scale
    assert got.tolist() == pytest.approx(EXPECTED[name, dims], abs=2e-5)


@live
@pytest.mark.parametrize(("name", "dims"), EXPECTED)
def test_quantus_still_says_so(name, dims):
    import quantus

    maps, regions = drawn(dims)
    metric, settings = METRICS[name]
    metric = getattr(quantus, metric)(**{**AS_THEY_ARE, **settings})
    network = nn.Identity()  # asked for, not used
    values = metric(
        model=network, x_batch=maps, y_batch=np.zeros(4, int), a_batch=maps, s_batch=regions, channel_first=True
    )
    assert [float(value) for value in values] == pytest.approx(EXPECTED[name, dims], abs=1e-5)


def perturbed_by(asked):
    """The noise images of our own draws, one after the other."""
    draws = iter(range(1, DRAWS + 1))

    def perturb(arr, indices, **_):
        spread = arr.std(axis=1, ddof=1, keepdims=True)
        return arr + STRENGTH * spread * asked.noise(next(draws)).flatten().numpy()

    return perturb


@live
def test_max_sensitivity_is_that_of_quantus_with_the_same_noise(asked):
    import quantus

    metric = quantus.MaxSensitivity(nr_samples=DRAWS, perturb_func=perturbed_by(asked), **AS_THEY_ARE)
    assert own("max_sensitivity", asked) == pytest.approx(said(metric, asked), rel=1e-4)


@live
def test_noise_agreement_is_one_less_the_max_sensitivity_of_quantus_in_rank_correlation(asked):
    import quantus

    metric = quantus.MaxSensitivity(
        nr_samples=DRAWS,
        perturb_func=perturbed_by(asked),
        similarity_func=lambda a, b: 1 - np.array([spearmanr(*pair)[0] for pair in zip(a, b, strict=True)]),
        norm_numerator=lambda a: a,
        norm_denominator=lambda a: 1,
        **AS_THEY_ARE,
    )
    lost = np.array(said(metric, asked))
    assert lost.min() > 1e-4
    assert own("noise_agreement", asked) == pytest.approx((1 - lost).tolist(), abs=1e-5)


@live
@pytest.mark.parametrize(
    ("name", "layers"),
    [("randomisation_output", 1), ("randomisation_half", 2), ("randomisation", 4), ("randomisation_magnitude", 4)],
)
def test_the_randomisation_cascade_is_quantus_mprt_with_the_same_draws(asked, name, layers, monkeypatch):
    import quantus

    assert (asked.relevance != 0).all()  # all voxels count, as in Quantus
    got = own(name, asked)
    metric = quantus.MPRT(**{**AS_THEY_ARE, "abs": name == "randomisation_magnitude"})
    with torch.random.fork_rng():
        torch.manual_seed(asked.seed)
        monkeypatch.setattr(torch, "manual_seed", lambda seed: None)  # Quantus seeds each layer, we seed once
        cascade = list(said(metric, asked).values())  # the first is of the network as it was
    assert len(cascade) == 1 + 4
    assert got == pytest.approx(cascade[layers], abs=1e-5)


@live
def test_randomisation_is_quantus_rank_correlation_of_the_two_maps(stripes, stripes_cases):
    """Over the voxels where one of them is not 0."""
    from quantus.functions.similarity_func import correlation_spearman

    images, labels = stripes_cases["image"][:3], stripes_cases["label"][:3]
    asked = Asked(network=stripes, inputs=images, targets=labels, method="saliency")
    pairs = zip(asked.relevance.numpy(), randomised_map(asked, 1.0).numpy(), strict=True)
    wanted = [float(correlation_spearman(*(p[(one != 0) | (two != 0)] for p in (one, two)))) for one, two in pairs]
    assert Randomisation().value(asked).tolist() == pytest.approx(wanted, abs=1e-9)


@live
@pytest.mark.parametrize("name", ["deletion", "insertion"])
def test_deletion_and_insertion_are_areas_under_the_curves_of_quantus_pixel_flipping(asked, name):
    """Its order and its probabilities after each voxel, by our imputation and over our shares."""
    import quantus

    cases, voxels = len(asked.inputs), math.prod(asked.grid)
    counts = [math.ceil(share * voxels) for share in SHARES]
    flipped = np.zeros((cases, voxels), dtype=bool)

    def seen(arr, indices=None, **_):
        if indices is not None:
            np.put_along_axis(flipped, indices, True, axis=1)
        if flipped[0].sum() not in counts:
            return arr  # nobody reads this place of the curve
        hidden = torch.from_numpy(flipped if name == "deletion" else ~flipped).view(asked.inputs.shape)
        return impute(asked.inputs, hidden, asked.noise()).flatten(1).numpy()

    with torch.no_grad():  # Quantus asks from the first voxel on
        logits = asked.network(torch.from_numpy(seen(None)).view(asked.inputs.shape))
    first = logits.softmax(dim=1).gather(1, asked.question.classes[:, None]).numpy()
    metric = quantus.PixelFlipping(perturb_func=seen, **AS_THEY_ARE)
    curve = np.concatenate([first, said(metric, asked, softmax=True)], axis=1)[:, counts]
    assert np.ptp(curve, axis=1).min() > 0.01
    wanted = np.trapezoid(curve, SHARES, axis=1)
    assert own(name, asked) == pytest.approx(wanted.tolist(), abs=1e-5)


@live
def test_infidelity_is_that_of_quantus_with_the_same_boxes_after_the_best_scale():
    """Its loss stands for ours: the least squares over the boxes as a share of the mean square fall."""
    import quantus

    asked = small(2)
    generator, boxes = asked.generator(), iter(range(1, BOXES + 1))

    def perturb(arr, indices, **_):
        noise = asked.noise(next(boxes))
        return impute(asked.inputs, _box(asked, generator), noise).numpy().reshape(arr.shape)

    def missed(a, b, **_):
        pairs = zip(a.astype(float), b.astype(float), strict=True)
        return np.array([np.linalg.lstsq(told[:, None], fall)[1][0] / (fall @ fall) for fall, told in pairs])

    # 4 x 4 patches of 3 x 3 voxels: our 16 boxes
    metric = quantus.Infidelity(
        loss_func=missed, perturb_patch_sizes=[3], n_perturb_samples=1, perturb_func=perturb, **AS_THEY_ARE
    )
    wanted = said(metric, asked)
    assert next(boxes, None) is None
    assert 0.01 < min(wanted) < max(wanted) < 0.999
    assert own("infidelity", asked) == pytest.approx(list(wanted), abs=1e-5)


@live
def test_imputation_is_near_that_of_quantus_road(stripes_cases):
    """Theirs solves the paper's system, which also weighs diagonal neighbours."""
    from quantus.functions.perturb_func import noisy_linear_imputation

    image = stripes_cases["image"][:1]
    image = torch.nn.functional.avg_pool2d(image, 4)
    hidden = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(4)) < 0.4
    places = hidden.flatten().nonzero().flatten().numpy()
    wanted = noisy_linear_imputation(arr=image[0].numpy(), indices=places, noise=0.0)
    got = impute(image, hidden, torch.zeros_like(image)).flatten(1)
    error = (got - torch.as_tensor(wanted).reshape(got.shape)).square().mean().sqrt()
    assert float(error) < 0.1 * float(image.std())
