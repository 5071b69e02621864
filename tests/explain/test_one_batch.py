# SPDX-License-Identifier: Apache-2.0
"""What explain_batch refuses, each by name, and how many passes it makes."""

import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from torch import nn

from fedxai.errors import ExplanationError
from fedxai.explain import METHODS, Method, explain_batch


class Answers(nn.Module):
    """A network whose answer is what ``answer`` makes of its logits."""

    def __init__(self, answer):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.answer = answer

    def forward(self, x):
        return self.answer(self.body(x))


X = torch.rand(2, 1, 8, 8)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda y: (y, y), "one tensor of logits .* got a tuple"),
        (lambda y: {"logits": y}, "one tensor of logits .* got a dict"),
        (lambda y: y[:, 0], r"logits \(2, K\) for this batch.* got \(2,\)"),
        (lambda y: y[:1], r"logits \(2, K\) for this batch.* got \(1, 2\)"),
        (lambda y: y[..., None], r"got \(2, 2, 1\)"),
        (lambda y: y.detach(), "detaches"),
    ],
)
def test_a_network_without_plain_logits_is_refused(answer, reason):
    with pytest.raises(ExplanationError, match=reason):
        explain_batch(Answers(answer), X, methods=["saliency"])


@pytest.mark.parametrize(
    ("targets", "reason"),
    [
        (2, r"0\.\.1, got 2"),
        ([0, -1], r"0\.\.1, got -1"),
        ([0], "2 of them"),
        (torch.zeros(2), "torch.float32"),
        (torch.zeros(2, 1, dtype=torch.long), r"\(2, 1\)"),
        ([True, False], "torch.bool"),
    ],
)
def test_a_target_that_is_no_class_is_refused(targets, reason):
    with pytest.raises(ExplanationError, match=reason):
        explain_batch(Answers(lambda y: y), X, targets=targets, methods=["saliency"])


def test_an_unknown_layer_lists_the_choices_the_closest_first():
    with pytest.raises(ExplanationError, match=r"'bodi' is not in the network; choose from body, body\.2"):
        explain_batch(Answers(lambda y: y), X, methods=["grad_cam"], target_layer="bodi")


def test_a_missing_layer_is_asked_for():
    with pytest.raises(ExplanationError, match=r"grad_cam needs target_layer.*body\.0"):
        explain_batch(Answers(lambda y: y), X, methods=["saliency", "grad_cam"])


def test_methods_without_a_layer_do_not_need_one():
    assert explain_batch(Answers(lambda y: y), X, methods=["saliency", "gradient_x_input"]).passes == 1


class Odd(nn.Module):
    """Layers that Grad-CAM cannot read."""

    def __init__(self):
        super().__init__()
        self.twice = nn.Conv2d(1, 1, 3, padding=1)
        self.never = nn.Conv2d(1, 1, 3)
        self.aside = nn.Conv2d(1, 1, 3)
        self.fixed = nn.Identity()
        self.pair = Pair()
        self.flat = nn.Flatten()
        self.head = nn.Linear(64, 2)

    def forward(self, x):
        self.aside(x)
        self.fixed(torch.ones_like(x))
        self.pair(x)
        return self.head(self.flat(self.twice(self.twice(x))))


class Pair(nn.Module):
    def forward(self, x):
        return x, x


READING = [name for name in METHODS if METHODS.make(name).needs_layer]


@pytest.mark.parametrize("method", READING)
@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("twice", "it ran 2 times"),
        ("never", "it ran 0 times"),
        ("aside", "logits must depend on target_layer 'aside'"),
        ("fixed", "no gradient reaches it"),
        ("pair", "one tensor, got a tuple"),
        ("flat", r"2 spatial axes, got \(2, 64\)"),
    ],
)
def test_a_layer_that_has_no_map_is_refused_by_name(method, layer, reason):
    with pytest.raises(ExplanationError, match=reason):
        explain_batch(Odd(), X, methods=[method], target_layer=layer)


NEEDING = [name for name in METHODS if METHODS.make(name).needs_background]


@pytest.mark.parametrize("method", NEEDING)
def test_a_missing_background_is_asked_for(method):
    with pytest.raises(ExplanationError, match=rf"{method} needs background, images \(N, 1, 8, 8\)"):
        explain_batch(Answers(lambda y: y), X, methods=["saliency", method])


@pytest.mark.parametrize("shape", [(3, 1, 8, 9), (0, 1, 8, 8), (1, 8, 8)])
def test_a_background_of_another_shape_is_refused(shape):
    with pytest.raises(ExplanationError, match=r"background must be \(N, 1, 8, 8\)"):
        explain_batch(Answers(lambda y: y), X, methods=NEEDING, background=torch.zeros(shape))


def test_a_network_that_ignores_its_input_is_refused():
    class Deaf(Answers):
        def forward(self, x):
            return nn.functional.one_hot(torch.zeros(len(x), dtype=torch.long), 2) * self.body[0].bias.sum()

    with pytest.raises(ExplanationError, match="detaches"):
        explain_batch(Deaf(None), X, methods=["saliency"])


def test_a_network_that_mixes_its_batch_is_refused():
    network = nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(ExplanationError, match="layer '0' normalises over the batch"):
        explain_batch(network, X, methods=["saliency"])


@pytest.mark.parametrize("methods", [[], ["saliency", "saliency"]])
def test_methods_are_names_each_once(methods):
    with pytest.raises(ExplanationError, match=r"each once, from .*saliency"):
        explain_batch(Answers(lambda y: y), X, methods=methods)


def test_an_unknown_method_lists_the_known_ones():
    with pytest.raises(ExplanationError, match=r"'lime'; choose from .*grad_cam, .*saliency"):
        explain_batch(Answers(lambda y: y), X, methods=["lime"])


class Scan(Method):
    """Not registered: a method with settings of its own, and as many passes as it likes."""

    name = "scan"

    def __init__(self, *, steps):
        self.steps = steps

    def attribute(self, probe):
        return sum(probe.at(probe.inputs * (k + 1) / self.steps).input_gradient for k in range(self.steps))


def test_a_method_may_bring_settings_and_make_more_passes():
    answer = explain_batch(Answers(lambda y: y), X, methods=["saliency", Scan(steps=4)])
    assert answer.passes == 5
    assert torch.allclose(answer.maps["scan"].abs() / 4, answer.maps["saliency"], atol=1e-6)


def test_a_method_off_the_grid_is_refused():
    class Small(Method):
        name = "small"

        def attribute(self, probe):
            return probe.inputs[..., 1:]

    with pytest.raises(ExplanationError, match="small must give maps"):
        explain_batch(Answers(lambda y: y), X, methods=[Small()])


def test_a_method_that_hides_its_need_for_a_layer_is_told():
    class Hidden(Method):
        name = "hidden"

        def attribute(self, probe):
            return probe.here.layer[0]

    with pytest.raises(ExplanationError, match="needs_layer"):
        explain_batch(Answers(lambda y: y), X, methods=[Hidden()], target_layer="body.0")


def test_monai_tensors_give_plain_maps():
    answer = explain_batch(
        Answers(lambda y: y.relu()),
        MetaTensor(X),
        targets=MetaTensor([0, 1]).long(),
        methods=list(METHODS),
        target_layer="body.0",
        background=MetaTensor(X),
    )
    assert {type(tensor) for tensor in (answer.logits, answer.targets, *answer.maps.values())} == {torch.Tensor}


def test_weights_get_no_gradient_work():
    """No backward formula of a weight runs: the pass costs no more than its input's."""
    network = Answers(lambda y: y)
    seen = []

    def listen(y):
        seen.append([parameter.requires_grad for parameter in network.parameters()])
        return y

    network.answer = listen
    explain_batch(network, X, methods=["saliency"])
    assert seen == [[False, False]]


def test_nothing_listens_to_a_network_that_failed_while_it_answered():
    network = Answers(lambda y: (y, y))
    with pytest.raises(ExplanationError, match="tuple"):
        explain_batch(network, X, methods=["grad_cam"], target_layer="body.0")
    assert not network.body[0]._forward_hooks

    def broken(y):
        raise RuntimeError("no room")

    with pytest.raises(ExplanationError, match="no room"):
        explain_batch(Answers(broken), X, methods=["grad_cam"], target_layer="body.0")
    network = Answers(broken)
    with pytest.raises(ExplanationError):
        explain_batch(network, X, methods=["grad_cam"], target_layer="body.0")
    assert not network.body[0]._forward_hooks
