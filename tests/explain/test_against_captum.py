# SPDX-License-Identifier: Apache-2.0
"""Every method against Captum; where Captum has none, against a slow restatement of its paper."""

import copy
import itertools
import math

import captum.attr as captum
import numpy as np
import pytest
import torch
from captum.attr._core.gradient_shap import InputBaselineXGradient
from torch import nn
from torch.nn.functional import interpolate

from fedxai.explain import METHODS, explain_batch
from fedxai.explain.expected_gradients import ExpectedGradients, draws
from fedxai.explain.guided_backprop import GuidedBackprop
from fedxai.explain.integrated_gradients import IntegratedGradients
from fedxai.explain.kernel_shap import KernelShap, coalitions
from fedxai.explain.occlusion import Occlusion
from fedxai.explain.smooth_grad import SmoothGrad
from fedxai.explain.supervoxels import supervoxels

LINEAR = {2: "bilinear", 3: "trilinear"}
ONE_PASS = ["saliency", "gradient_x_input", *(name for name in METHODS if METHODS.make(name).needs_layer)]
NAMES = ["group norm", "instance norm", "batch norm", "MONAI DenseNet", "MONAI ResNet", "segmenter"]


@pytest.fixture(params=[(name, dims) for name in NAMES for dims in (2, 3)], ids=lambda p: f"{p[0]} {p[1]}D")
def study(request, make_study):
    """The networks of the other tests, and a segmenter."""
    return make_study(*request.param)


class Summed(nn.Module):
    """A segmenter as the classifier that Captum knows: each class's logits summed over the cases' regions."""

    def __init__(self, network, region):
        super().__init__()
        self.network, self.region = network, region

    def forward(self, x):
        return (self.network(x) * self.region[:, None]).flatten(2).sum(dim=2)


def reference(study):
    """The network in evaluation mode; a segmenter summed over what it segments as the target."""
    network = study.network.eval()
    if study.name != "segmenter":
        return network
    with torch.no_grad():
        segmented = network(study.inputs).argmax(dim=1)
    return Summed(network, segmented == study.targets.view(-1, *[1] * study.dims))


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
    wanted = captum.Saliency(reference(study)).attribute(study.inputs.clone(), target=study.targets)
    assert_same(ours.maps["saliency"], wanted)


def test_gradient_x_input_is_captums(study, ours):
    wanted = captum.InputXGradient(reference(study)).attribute(study.inputs.clone(), target=study.targets)
    assert_same(ours.maps["gradient_x_input"], wanted)


def on_grid(study, cells):
    return captum.LayerAttribution.interpolate(cells, study.inputs.shape[2:], LINEAR[study.dims])


def test_grad_cam_is_captums(study, ours):
    grad_cam = captum.LayerGradCam(reference(study), study.network.get_submodule(study.layer))
    cells = grad_cam.attribute(study.inputs, target=study.targets, relu_attributions=True)
    assert_same(ours.maps["grad_cam"], on_grid(study, cells))


def test_hires_cam_is_captums_layer_gradient_x_activation(study, ours):
    layer = study.network.get_submodule(study.layer)
    cells = captum.LayerGradientXActivation(reference(study), layer).attribute(study.inputs, target=study.targets)
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

    network = reference(study)
    study.network.get_submodule(study.layer).register_forward_hook(keep)
    network(study.inputs).gather(1, study.targets[:, None]).sum().backward()
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
    noise = iter([torch.randn(exact.inputs.shape[1:], generator=generator) for _ in range(4)])
    everything = tuple(range(1, exact.inputs.ndim))
    spread = exact.inputs.amax(everything, keepdim=True) - exact.inputs.amin(everything, keepdim=True)
    tunnel = captum.NoiseTunnel(captum.Saliency(reference(exact)))
    monkeypatch.setattr(torch, "normal", lambda mean, deviation: mean + deviation * spread * next(noise))
    wanted = tunnel.attribute(
        exact.inputs, nt_samples=4, nt_samples_batch_size=1, stdevs=0.2, target=exact.targets, abs=False
    )
    assert_same(ours_of(exact, SmoothGrad(samples=4, noise=0.2, seed=3)), wanted.abs())


def test_integrated_gradients_are_captums(exact):
    wanted = captum.IntegratedGradients(reference(exact)).attribute(
        exact.inputs, target=exact.targets, n_steps=5, internal_batch_size=3
    )
    assert_same(ours_of(exact, IntegratedGradients(steps=5, grading=0)), wanted)


def test_integrated_gradients_from_the_mean_image_are_captums(exact):
    background = torch.rand(4, *exact.inputs.shape[1:], dtype=torch.float64)
    wanted = captum.IntegratedGradients(reference(exact)).attribute(
        exact.inputs,
        baselines=background.mean(dim=0, keepdim=True),
        target=exact.targets,
        n_steps=3,
        internal_batch_size=3,
    )
    assert_same(ours_of(exact, IntegratedGradients(steps=3, baseline="mean"), background=background), wanted)


def test_expected_gradients_are_captums_gradient_shap_with_the_same_draws(exact, monkeypatch):
    background = torch.rand(2, *exact.inputs.shape[1:], dtype=torch.float64)
    one_sample, wanted = InputBaselineXGradient(reference(exact)), torch.zeros_like(exact.inputs)
    for place, t, weight in draws(images=2, samples=5, seed=1):
        # Captum's coefficient is the input's share, as t
        monkeypatch.setattr("numpy.random.uniform", lambda low, high, size, t=t: [t] * size)
        baseline = background[place : place + 1].expand_as(exact.inputs)
        wanted += weight * one_sample.attribute(exact.inputs, baselines=baseline, target=exact.targets).detach()
    assert_same(ours_of(exact, ExpectedGradients(samples=5, seed=1), background=background), wanted)


def test_occlusion_is_captums(study):
    sides, steps = (2, *[12] * study.dims), (2, *[9] * study.dims)
    with torch.no_grad():
        wanted = captum.Occlusion(reference(study)).attribute(study.inputs, sides, steps, target=study.targets)
    assert_same(ours_of(study, Occlusion(window=12, stride=9)), wanted[:, :1])


def test_kernel_shap_that_asks_every_coalition_gives_captums_shapley_values(study):
    """Captum gives each voxel its supervoxel's whole value, ours an equal share."""
    if study.dims == 3:
        pytest.skip("Captum walks through all orders of the eight boxes; the next test asks in 3D")
    labels = supervoxels(study.inputs.shape[2:], 4)
    with torch.no_grad():
        wanted = captum.ShapleyValues(reference(study)).attribute(
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


def test_kernel_shap_that_draws_coalitions_is_the_least_squares_of_its_paper(exact):
    """Drawn by the kernel, so each weighs the same; the constraint gives the last supervoxel what the others leave."""
    players = {2: 9, 3: 8}[exact.dims]
    labels = supervoxels(exact.inputs.shape[2:], players)
    shown, _ = coalitions(players, samples=4 * players, seed=5)
    assert len(shown) < 2**players - 2
    network = reference(exact)

    def answer(row):
        with torch.no_grad():
            return network(exact.inputs * row[labels]).gather(1, exact.targets[:, None])[:, 0].numpy()

    nothing, everything = answer(torch.zeros(players)), answer(torch.ones(players))
    z, total = shown.numpy().astype(float), everything - nothing
    gains = np.stack([answer(row) - nothing for row in shown])
    first, _, rank, _ = np.linalg.lstsq(z[:, :-1] - z[:, -1:], gains - z[:, -1:] * total, rcond=None)
    assert rank == players - 1
    phi = np.vstack([first, total - first.sum(axis=0)])
    wanted = (phi.T / np.bincount(labels.flatten()))[:, None, labels]
    method = KernelShap(supervoxels=players, samples=4 * players, seed=5)
    assert_same(ours_of(exact, method), torch.from_numpy(wanted))


class InTurn(nn.Module):
    """Two ReLUs that take turns: in a network that uses one twice, each is used once."""

    def __init__(self):
        super().__init__()
        self.relus, self.uses = nn.ModuleList([nn.ReLU(), nn.ReLU()]), 0

    def forward(self, x):
        self.uses += 1
        return self.relus[self.uses % 2](x)


def with_relus_in_turn(network):
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, InTurn())
    return network


def test_guided_backprop_is_captums(exact):
    """Captum's needs every ReLU to be a module of its own, used once, that works out of place."""
    network = with_relus_in_turn(reference(exact))
    wanted = captum.GuidedBackprop(network).attribute(exact.inputs.clone(), target=exact.targets)
    for inplace in (False, True):
        for module in exact.network.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = inplace
        assert_same(ours_of(exact, GuidedBackprop()), wanted)
