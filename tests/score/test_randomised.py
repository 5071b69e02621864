# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from fedxai.score import MODEL_SCORES, Asked
from fedxai.score.randomised import randomised


class Scale(nn.Module):
    """Weights without a reset_parameters of their own."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))


def changed(before, after):
    pairs = zip(before.named_parameters(), after.parameters(), strict=True)
    return {name for (name, old), new in pairs if not torch.equal(old, new)}


def test_the_cascade_goes_from_the_output_down():
    net = network()
    assert changed(net, randomised(net, 0.0)) == {"4.weight", "4.bias"}
    assert changed(net, randomised(net, 1.0)) == {"0.weight", "0.bias", "4.weight", "4.bias"}  # the norm is as it was


def test_the_network_and_the_global_random_state_stay_as_they_were():
    net = network()
    state = torch.random.get_rng_state()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    randomised(net, 1.0, seed=5)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_a_seed_draws_the_same_weights_and_another_seed_others():
    net = network()
    same, again, other = (randomised(net, 1.0, seed=seed) for seed in (1, 1, 2))
    assert not changed(same, again)
    assert changed(same, other)


def test_weights_that_cannot_reset_themselves_are_shuffled():
    net = nn.Sequential(nn.Flatten(), Scale())
    (weight,) = randomised(net, 1.0, seed=1).parameters()
    assert sorted(weight.flatten().tolist()) == list(range(6))
    assert not torch.equal(weight, net[1].weight)


def test_a_network_without_weights_has_a_plain_copy():
    assert isinstance(randomised(nn.Sequential(nn.Flatten()), 1.0)[0], nn.Flatten)


class Keeps(nn.Linear):
    """Keeps what it put out, graph and all."""

    def forward(self, values):
        self.seen = super().forward(values)
        return self.seen


def test_a_network_that_keeps_an_activation_is_copied_without_its_graph():
    net = nn.Sequential(Keeps(3, 2))
    answer = net(torch.ones(1, 3))
    other = randomised(net, 1.0)
    assert torch.equal(other[0].seen, answer)
    assert not other[0].seen.requires_grad
    assert net[0].seen is answer


def test_half_of_the_layers_are_those_nearest_the_output():
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Linear(3, 3) for _ in range(5)))
    halves = {name.split(".")[0] for name in changed(net, randomised(net, 0.5, seed=1))}
    assert halves == {"2", "3", "4"}


def test_the_scores_draw_all_layers_half_of_them_and_the_last():
    shares = {name: MODEL_SCORES.make(name).share for name in MODEL_SCORES if name.startswith("randomisation")}
    assert shares == {
        "randomisation": 1.0,
        "randomisation_half": 0.5,
        "randomisation_output": 0.0,
        "randomisation_magnitude": 1.0,
    }


def test_a_map_whose_signs_alone_are_lost_keeps_its_magnitude(stripes, stripes_cases, monkeypatch):
    asked = Asked(
        network=stripes,
        inputs=stripes_cases["image"][:2],
        targets=stripes_cases["label"][:2],
        method="gradient_x_input",
    )
    monkeypatch.setattr("fedxai.score.randomisation.randomised_map", lambda one, share: -one.relevance)
    values = {n: MODEL_SCORES.make(n).value(asked).tolist() for n in ("randomisation", "randomisation_magnitude")}
    assert values["randomisation_magnitude"] == pytest.approx([1.0, 1.0])
    assert max(values["randomisation"]) < 0
