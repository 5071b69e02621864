# SPDX-License-Identifier: Apache-2.0
"""What federation and explanation need of a bundle's network."""

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from fedxai.train.guidance import relevance_loss


@pytest.fixture
def batch(grid):
    return torch.rand((5, 1, *grid), generator=torch.Generator().manual_seed(0))


def test_no_layer_depends_on_the_batch_or_on_chance(network):
    assert [name for name, layer in network.named_modules() if isinstance(layer, _BatchNorm)] == []
    assert [name for name, layer in network.named_modules() if isinstance(layer, _DropoutNd) and layer.p] == []


def test_nothing_but_parameters_is_averaged(network):
    assert list(network.state_dict()) == [name for name, _ in network.named_parameters()]


def test_a_case_has_the_same_logits_in_training_and_in_evaluation(network, batch):
    with torch.no_grad():
        torch.testing.assert_close(network.train()(batch), network.eval()(batch), rtol=0, atol=1e-6)


def test_a_case_has_the_same_logits_alone_and_in_company(network, batch):
    network.train()
    with torch.no_grad():
        alone = torch.cat([network(case[None]) for case in batch])
        torch.testing.assert_close(network(batch), alone, rtol=1e-4, atol=1e-5)


def test_the_logits_answer_to_the_image(network, batch):
    with torch.no_grad():
        logits = network(batch)
    assert (logits[0] - logits[1]).abs().max() > 1e-4


def test_every_parameter_learns(bundle, network, batch):
    heard = []
    if bundle.explain.relevance_layer:  # taught by regions, and by nothing else behind a gate
        network.get_submodule(bundle.explain.relevance_layer).register_forward_hook(
            lambda *args: heard.append(args[-1])
        )
    logits = network(batch)
    labels = torch.arange(len(batch) * logits[0, 0].numel()) % len(bundle.class_names)
    loss = nn.functional.cross_entropy(logits, labels.view(len(batch), *logits.shape[2:]))
    loss = loss + sum(relevance_loss(relevance, batch > 0.9).sum() for relevance in heard)
    loss.backward()
    assert [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()] == []


def test_the_target_layer_is_there_and_still_sees_where_things_are(bundle, network, batch):
    layer = dict(network.named_modules())[bundle.explain.target_layer]
    seen = []
    layer.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    network(batch)
    assert len(seen) == 1
    assert len(seen[0]) == batch.ndim
    assert min(seen[0][2:]) >= 8


def test_the_methods_of_explain_json_give_maps_for_this_network(bundle, network, batch):
    from fedxai.explain import explain_batch

    explained = explain_batch(
        network.eval(), batch, methods=bundle.explain.methods, target_layer=bundle.explain.target_layer
    )
    assert list(explained.maps) == bundle.explain.methods
    assert {tuple(saliency.shape[2:]) for saliency in explained.maps.values()} == {tuple(batch.shape[2:])}
