# SPDX-License-Identifier: Apache-2.0
"""Every method against Captum; where Captum has none, against a slow restatement of its paper."""

import itertools
import math

import captum.attr as captum
import pytest
import torch
from captum.attr._core.gradient_shap import InputBaselineXGradient
from torch import nn
from torch.nn.functional import interpolate

from fedxai.explain import METHODS, explain_batch
from fedxai.explain.expected_gradients import ExpectedGradients, draws
from fedxai.explain.guided_backprop import GuidedBackprop
from fedxai.explain.integrated_gradients import IntegratedGradients
from fedxai.explain.kernel_shap import KernelShap
from fedxai.explain.occlusion import Occlusion
from fedxai.explain.smooth_grad import SmoothGrad
from fedxai.explain.supervoxels import supervoxels

LINEAR = {2: "bilinear", 3: "trilinear"}
ONE_PASS = ["saliency", "gradient_x_input", *(name for name in METHODS if METHODS.make(name).needs_layer)]


@pytest.fixture
def ours(study):
    return explain_batch(study.network, study.inputs, targets=study.targets, methods=ONE_PASS, target_layer=study.layer)


@pytest.fixture
def exact(study):
    """In double precision: many passes add up, and a ReLU may tip over a last digit."""
    study.network, study.inputs = study.network.double(), study.inputs.double()
    return study


def ours_of(study, method, **keywords):
    return explain_batch(study.network, study.inputs, targets=study.targets, methods=[method], **keywords).maps[
        method.name
    ]


def assert_same(got, wanted):
    """Within 1e-5 of the reference's largest value, and the reference says something."""
    largest = float(wanted.detach().abs().max())
    assert largest > 0
    assert torch.allclose(got, wanted.detach(), rtol=1e-5, atol=1e-5 * min(largest, 1.0))


def test_saliency_is_captums(study, ours):
    wanted = captum.Saliency(study.network.eval()).attribute(study.inputs.clone(), target=study.targets)
    assert_same(ours.maps["saliency"], wanted)


def test_gradient_x_input_is_captums(study, ours):
    wanted = captum.InputXGradient(study.network.eval()).attribute(study.inputs.clone(), target=study.targets)
    assert_same(ours.maps["gradient_x_input"], wanted)


def on_grid(study, cells):
    return captum.LayerAttribution.interpolate(cells, study.inputs.shape[2:], LINEAR[study.dims])


def test_grad_cam_is_captums(study, ours):
    layer = study.network.eval().get_submodule(study.layer)
    grad_cam = captum.LayerGradCam(study.network, layer)
    cells = grad_cam.attribute(study.inputs, target=study.targets, relu_attributions=True)
    assert_same(ours.maps["grad_cam"], on_grid(study, cells))


def test_hires_cam_is_captums_layer_gradient_x_activation(study, ours):
    layer = study.network.eval().get_submodule(study.layer)
    cells = captum.LayerGradientXActivation(study.network, layer).attribute(study.inputs, target=study.targets)
    assert_same(ours.maps["hires_cam"], on_grid(study, cells.sum(dim=1, keepdim=True)))


def test_all_maps_of_one_pass_took_one_pass(ours):
    assert (ours.passes, ours.forwards) == (1, 0)
    assert len(ours.maps) == 6


@pytest.fixture
def activations(study):
    """A and g of the target layer in double precision, by a hook of the test's own."""
    kept = []

    def keep(module, inputs, output):
        output.retain_grad()
        kept.append(output)
        return output.clone()

    study.network.eval().get_submodule(study.layer).register_forward_hook(keep)
    study.network(study.inputs).gather(1, study.targets[:, None]).sum().backward()
    return kept[0].detach().double(), kept[0].grad.double()


def restated(study, activation, gradient, cell):
    """One map, cell by cell: ``cell(A, g, p)`` of a case's ``(K, *cells)``."""
    maps = torch.zeros(len(activation), 1, *activation.shape[2:], dtype=torch.float64)
    for case, (a, g) in enumerate(zip(activation, gradient, strict=True)):
        for p in itertools.product(*map(range, a.shape[1:])):
            maps[(case, 0, *p)] = cell(a, g, p)
    return interpolate(maps, size=study.inputs.shape[2:], mode=LINEAR[study.dims], align_corners=False).float()


def test_layer_cam_is_its_paper(study, ours, activations):
    """Equations 5 to 7: each place has its own weight, ReLU(g); the weighted channels are added; ReLU."""

    def cell(a, g, p):
        return max(0.0, sum(max(0.0, float(g[k][p])) * float(a[k][p]) for k in range(len(a))))

    assert_same(ours.maps["layer_cam"], restated(study, *activations, cell))


def test_grad_cam_plus_plus_is_its_paper(study, ours, activations):
    """Equations 10 and 19 with ``Y = exp(f)``, without the factor exp(f) that scales a whole map."""
    weights = {}

    def weight(a, g):
        total, w = float(a.sum()), 0.0
        for value in g.flatten().tolist():
            below = 2 * value**2 + total * value**3
            w += (value**2 / below if below else 0.0) * max(0.0, value)
        return w

    def cell(a, g, p):
        if id(a) not in weights:
            weights[id(a)] = (a, [weight(a[k], g[k]) for k in range(len(a))])
        return max(0.0, sum(w * float(a[k][p]) for k, w in enumerate(weights[id(a)][1])))

    assert_same(ours.maps["grad_cam_plus_plus"], restated(study, *activations, cell))


def test_smooth_grad_is_captums_with_the_same_noise(exact, monkeypatch):
    generator = torch.Generator().manual_seed(3)
    noise = torch.stack([torch.randn(exact.inputs.shape[1:], generator=generator) for _ in range(4)])
    monkeypatch.setattr(torch, "normal", lambda mean, deviation: mean + deviation * noise)
    tunnel = captum.NoiseTunnel(captum.Saliency(exact.network.eval()))
    wanted = torch.cat(
        [
            tunnel.attribute(
                case[None], nt_samples=4, stdevs=0.2 * float(case.max() - case.min()), target=target, abs=False
            )
            for case, target in zip(exact.inputs, exact.targets.tolist(), strict=True)
        ]
    )
    assert_same(ours_of(exact, SmoothGrad(samples=4, noise=0.2, seed=3)), wanted.abs())


def test_integrated_gradients_are_captums(exact):
    reference = captum.IntegratedGradients(exact.network.eval())
    wanted = reference.attribute(exact.inputs, target=exact.targets, n_steps=5, internal_batch_size=3)
    assert_same(ours_of(exact, IntegratedGradients(steps=5)), wanted)


def test_integrated_gradients_from_the_mean_image_are_captums(exact):
    background = torch.rand(4, *exact.inputs.shape[1:], dtype=torch.float64)
    wanted = captum.IntegratedGradients(exact.network.eval()).attribute(
        exact.inputs, baselines=background.mean(dim=0, keepdim=True), target=exact.targets, n_steps=3
    )
    assert_same(ours_of(exact, IntegratedGradients(steps=3, baseline="mean"), background=background), wanted)


def test_expected_gradients_are_captums_gradient_shap_with_the_same_draws(exact, monkeypatch):
    background = torch.rand(2, *exact.inputs.shape[1:], dtype=torch.float64)
    reference, wanted = InputBaselineXGradient(exact.network.eval()), torch.zeros_like(exact.inputs)
    for place, t, weight in draws(images=2, samples=5, seed=1):
        # Captum's coefficient is the input's share, as t
        monkeypatch.setattr("numpy.random.uniform", lambda low, high, size, t=t: [t] * size)
        baseline = background[place : place + 1].expand_as(exact.inputs)
        wanted += weight * reference.attribute(exact.inputs, baselines=baseline, target=exact.targets).detach()
    assert_same(ours_of(exact, ExpectedGradients(samples=5, seed=1), background=background), wanted)


def test_occlusion_is_captums(study):
    sides, steps = (2, *[12] * study.dims), (2, *[9] * study.dims)
    with torch.no_grad():
        wanted = captum.Occlusion(study.network.eval()).attribute(study.inputs, sides, steps, target=study.targets)
    assert_same(ours_of(study, Occlusion(window=12, stride=9)), wanted[:, :1])


def test_kernel_shap_that_asks_every_coalition_gives_captums_shapley_values(study):
    """Captum gives each voxel its supervoxel's whole value, ours an equal share."""
    if study.dims == 3:
        pytest.skip("Captum walks through all orders of the eight boxes; the next test asks in 3D")
    labels = supervoxels(study.inputs.shape[2:], 4)
    with torch.no_grad():
        wanted = captum.ShapleyValues(study.network.eval()).attribute(
            study.inputs, feature_mask=labels[None, None], target=study.targets
        )
    sizes = labels.flatten().bincount()[labels]
    assert_same(ours_of(study, KernelShap(supervoxels=4, samples=14)) * sizes, wanted[:, :1])


def test_kernel_shap_that_asks_every_coalition_gives_the_shapley_values_of_a_volume(small_volume):
    players, network, case = 8, small_volume.network.double(), small_volume.inputs[:1].double()
    labels = supervoxels(case.shape[2:], players)
    subsets = [frozenset(s) for n in range(players + 1) for s in itertools.combinations(range(players), n)]
    with torch.no_grad():
        shown = [torch.isin(labels, torch.tensor(sorted(s))) for s in subsets]
        answers = [network.eval()(case * z)[0, 2] for z in shown]
    value = {s: float(answer) for s, answer in zip(subsets, answers, strict=True)}
    wanted = torch.zeros(players, dtype=torch.float64)
    for j in range(players):
        for s in (s for s in subsets if j not in s):
            share = math.factorial(len(s)) * math.factorial(players - len(s) - 1) / math.factorial(players)
            wanted[j] += share * (value[s | {j}] - value[s])
    method = KernelShap(supervoxels=players, samples=254)
    got = explain_batch(network, case, targets=2, methods=[method]).maps["kernel_shap"]
    assert_same(torch.zeros_like(wanted).index_add(0, labels.flatten(), got.flatten()), wanted)


def test_guided_backprop_is_captums(study):
    """Captum's needs every ReLU to be a module of its own that works out of place."""
    if "ResNet" in study.name:
        pytest.skip("its ReLUs are used twice, which Captum refuses")
    for module in study.network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    wanted = captum.GuidedBackprop(study.network.eval()).attribute(study.inputs.clone(), target=study.targets)
    for inplace in (False, True):
        for module in study.network.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = inplace
        assert_same(ours_of(study, GuidedBackprop()), wanted)
