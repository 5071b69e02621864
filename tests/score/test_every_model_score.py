# SPDX-License-Identifier: Apache-2.0
"""What every score promises that asks the network again, asked of all that are registered."""

import math

import pytest
import torch
from torch import nn

from fedxai.errors import ExplanationError
from fedxai.score import MODEL_SCORES, Asked, ModelScore, score_model

every_score = pytest.mark.parametrize("name", list(MODEL_SCORES))
CONV = {2: nn.Conv2d, 3: nn.Conv3d}
POOL = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


def network(dims):
    torch.manual_seed(dims)
    return nn.Sequential(
        CONV[dims](2, 6, 3),
        nn.BatchNorm2d(6) if dims == 2 else nn.BatchNorm3d(6),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        POOL[dims](1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


def segmenter(dims):
    """Logits of three classes on half the grid."""
    torch.manual_seed(dims)
    return nn.Sequential(CONV[dims](2, 6, 3, stride=2, padding=1), nn.ReLU(), CONV[dims](6, 3, 3, padding=1))


def question(dims=2, *, cases=3, net=None, method="gradient_x_input"):
    random = torch.Generator().manual_seed(1)
    inputs = torch.rand(3, 2, *(13, 14, 7)[:dims], generator=random)[:cases]
    targets = torch.tensor([2, 0, 1])[:cases]
    asked = Asked(network=net or network(dims), inputs=inputs, targets=targets, method=method)
    asked.others = {"other": torch.rand(3, *asked.grid, generator=random)[:cases].double()}
    return asked


@pytest.fixture(scope="module", params=[(network, 2), (network, 3), (segmenter, 2), (segmenter, 3)])
def scores(request):
    build, dims = request.param
    return score_model(question(dims, net=build(dims)))


@every_score
def test_it_says_what_it_is(name):
    score = MODEL_SCORES.make(name)
    assert isinstance(score, ModelScore)
    assert score.direction in ("higher", "lower")
    assert score.range[0] < score.range[1]


@every_score
def test_value_and_both_levels_are_in_range_for_images_and_volumes(name, scores):
    low, high = MODEL_SCORES.make(name).range
    for kind in scores[name]:
        assert kind.shape == (3,)
        assert all(low <= value <= high for value in kind.tolist()), kind


LOWER = {"deletion", "infidelity", "max_sensitivity", *(name for name in MODEL_SCORES if "randomisation" in name)}


@every_score
def test_it_says_which_way_is_better(name):
    assert MODEL_SCORES.make(name).direction == ("lower" if name in LOWER else "higher")


@every_score
@pytest.mark.parametrize("dims", [2, 3])
def test_a_method_that_draws_the_centred_gaussian_has_the_level_said_of_it(name, dims, bad_methods):
    value, _, centred = score_model(question(dims, method=bad_methods["centred_gaussian"]))[name]
    assert value.tolist() == pytest.approx(centred.tolist(), abs=1e-3)


@every_score
def test_the_same_twice_whoever_asks_first(name):
    first = MODEL_SCORES.make(name).value(question())
    asked = question()
    again = dict(score_model(asked))[name][0]
    assert first.tolist() == again.tolist() or (first.isnan() & again.isnan()).all()


@every_score
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("build", [network, segmenter])
def test_a_case_does_not_depend_on_its_batch(name, build, dims):
    net = build(dims)
    together = MODEL_SCORES.make(name).value(question(dims, net=net))[:1]
    alone = MODEL_SCORES.make(name).value(question(dims, net=net, cases=1))
    assert together.tolist() == pytest.approx(alone.tolist(), abs=1e-4, nan_ok=True)


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 9), (0, 2, 9, 9), (3, 2, 0, 9), (1, 3, 2, 9, 9, 9)])
def test_a_wrong_shape_is_refused_before_any_score(shape):
    net, targets = network(2), torch.zeros(shape[0], dtype=torch.long)
    with pytest.raises(ExplanationError, match="2 or 3 spatial axes"):
        Asked(network=net, inputs=torch.zeros(shape), targets=targets, method="saliency")


@every_score
def test_a_map_that_is_not_finite_is_undefined_and_spares_the_others(name):
    asked = question()
    asked.relevance[1, 3, 3] = float("nan")
    value, *_ = score_model(asked)[name]
    assert value.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("learning", [True, False])
def test_the_network_is_left_as_it_was(learning):
    net = network(2).train(learning)
    net[0].eval()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    random = torch.random.get_rng_state()
    score_model(question(net=net))
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in net.modules())
    assert torch.equal(torch.random.get_rng_state(), random)


@every_score
def test_a_map_of_zeros_is_undefined(name, bad_methods):
    value, *_ = score_model(question(method=bad_methods["zero"]))[name]
    assert all(math.isnan(case) for case in value.tolist())


def test_passes_are_counted_forward_passes_too():
    asked = question()
    assert asked.passes == 1
    asked.probability(asked.inputs)
    asked.explain(asked.inputs)
    assert asked.passes == 3


def test_a_network_in_half_precision_is_asked_in_its_own():
    asked = question(net=network(2).bfloat16())
    assert asked.probability(asked.inputs).dtype == torch.float64
    assert asked.relevance.dtype == torch.float64


def test_an_unknown_model_score_lists_the_known_ones():
    with pytest.raises(ExplanationError, match=r"unknown model score 'road'; choose from .*deletion"):
        MODEL_SCORES.make("road")
