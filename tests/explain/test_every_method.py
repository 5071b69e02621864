# SPDX-License-Identifier: Apache-2.0
"""What every saliency method promises, asked of all that are registered."""

import pytest
import torch
from torch import nn

from fedxai.errors import ExplanationError
from fedxai.explain import METHODS, Question, explain_batch

# few samples: what is promised does not depend on how many
SPARING = {
    "smooth_grad": {"samples": 2},
    "integrated_gradients": {"steps": 2},
    "expected_gradients": {"samples": 3},
    "kernel_shap": {"supervoxels": 4, "samples": 32},
    "occlusion": {"window": 12, "stride": 10},
}
STUDIES = [
    ("group norm", 2),
    ("batch norm", 3),
    ("MONAI DenseNet", 3),
    ("MONAI ResNet", 2),
    ("segmenter", 2),
    ("segmenter", 3),
]


@pytest.fixture(params=STUDIES, ids=lambda p: f"{p[0]} {p[1]}D")
def study(request, make_study):
    return make_study(*request.param)


@pytest.fixture(params=list(METHODS))
def method(request):
    return request.param


def background_of(inputs):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(4, *inputs.shape[1:], generator=generator)


def explained(study, method, inputs=None, **keywords):
    given = study.inputs if inputs is None else inputs
    made = type(METHODS.make(method))(**SPARING.get(method, {}))
    return explain_batch(
        study.network,
        given,
        methods=[made],
        target_layer=study.layer,
        background=background_of(study.inputs),
        **keywords,
    )


def test_maps_lie_on_the_inputs_grid(study, method):
    attribution = explained(study, method, targets=study.targets).maps[method]
    batch, channels, *space = study.inputs.shape
    assert attribution.shape in ((batch, channels, *space), (batch, 1, *space))
    assert attribution.isfinite().all()
    assert attribution.any()
    assert not attribution.requires_grad


def test_the_same_question_gets_the_same_map(study, method):
    study.network.train()
    first, second = (explained(study, method).maps[method] for _ in range(2))
    assert torch.equal(first, second)


def test_a_case_does_not_depend_on_its_batch(study, method):
    """In double precision: a convolution rounds by the size of its batch, and a ReLU may tip over that."""
    study.network, study.inputs = study.network.double(), study.inputs.double()
    together = explained(study, method, targets=study.targets).maps[method]
    for index, target in enumerate(study.targets.tolist()):
        case = study.inputs[index : index + 1]
        alone = explained(study, method, case, targets=target).maps[method]
        assert torch.allclose(alone, together[index : index + 1], rtol=1e-6, atol=1e-10)
        assert alone.dtype == torch.float64
    neighbours = study.inputs.clone()
    neighbours[1:] = neighbours[1:] * 50 + 7
    changed = explained(study, method, neighbours, targets=study.targets).maps[method]
    assert torch.allclose(changed[0], together[0], rtol=1e-6, atol=1e-10)
    turned = explained(study, method, study.inputs.flip(0), targets=study.targets.flip(0)).maps[method]
    assert torch.allclose(turned.flip(0), together, rtol=1e-6, atol=1e-10)


def test_without_targets_the_predicted_class_is_explained(study, method):
    free = explained(study, method)
    assert torch.equal(free.targets, Question.about(free.logits, None).classes)
    asked = explained(study, method, targets=free.targets)
    assert torch.equal(free.maps[method], asked.maps[method])


@pytest.mark.parametrize("dims", [2, 3])
def test_a_given_region_is_explained_instead_of_the_predicted_one(make_study, method, dims):
    """And the region of an earlier answer, asked again, gives the earlier map."""
    study = make_study("segmenter", dims)
    predicted = explained(study, method, targets=study.targets)
    region = torch.zeros_like(predicted.question.region)
    region[:, 2:6, 3:7] = True
    asked = Question(classes=study.targets, region=region)
    answer = explained(study, method, targets=asked)
    assert answer.question is asked
    assert answer.maps[method].any()
    assert not torch.equal(answer.maps[method], predicted.maps[method])
    again = explained(study, method, targets=predicted.question)
    assert torch.equal(again.maps[method], predicted.maps[method])


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def state_of(network):
    return {
        "modes": [module.training for module in network.modules()],
        "requires": [parameter.requires_grad for parameter in network.parameters()],
        "grads": [None if p.grad is None else p.grad.clone() for p in network.parameters()],
        "hooks": [len(getattr(module, kind)) for module in network.modules() for kind in HOOKS],
        "tensors": {name: tensor.clone() for name, tensor in network.state_dict().items()},
    }


def assert_same_state(before, after):
    for part in ("modes", "requires", "hooks"):
        assert before[part] == after[part]
    for one, other in zip(before["grads"], after["grads"], strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
    assert all(torch.equal(before["tensors"][name], after["tensors"][name]) for name in before["tensors"])


def make_untidy(network):
    """Mixed modes, a frozen parameter, gradients from training."""
    network.train()
    next(module for module in network.modules() if isinstance(module, nn.Dropout | nn.ReLU)).eval()
    first, *rest = network.parameters()
    first.requires_grad_(False)
    for parameter in rest:
        parameter.grad = torch.ones_like(parameter)


def test_the_network_is_left_as_it_was(study, method):
    make_untidy(study.network)
    before = state_of(study.network)
    explained(study, method)
    assert_same_state(before, state_of(study.network))


def test_the_network_is_left_as_it_was_after_a_failure(study, method):
    make_untidy(study.network)
    before = state_of(study.network)
    with pytest.raises(ExplanationError, match=r"0\.\.2, got 3"):
        explained(study, method, targets=3)
    assert_same_state(before, state_of(study.network))


def test_inputs_are_not_changed(study, method):
    before = study.inputs.clone()
    explained(study, method)
    assert torch.equal(study.inputs, before)
    assert not study.inputs.requires_grad


def test_maps_come_also_where_gradients_are_switched_off(small, method):
    wanted = explained(small, method).maps[method]
    with torch.no_grad():
        assert torch.equal(explained(small, method).maps[method], wanted)
    with torch.inference_mode():
        assert torch.equal(explained(small, method, small.inputs * 1).maps[method], wanted)


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 9), (0, 2, 9, 9), (3, 2, 0, 9), (1, 3, 2, 9, 9, 9)])
def test_a_wrong_shape_is_refused(small, method, shape):
    with pytest.raises(ExplanationError, match="2 or 3 spatial axes"):
        explained(small, method, torch.zeros(shape))


def test_integers_are_refused(small, method):
    with pytest.raises(ExplanationError, match="floating point"):
        explained(small, method, torch.zeros(3, 2, 9, 9, dtype=torch.long))
