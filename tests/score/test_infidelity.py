# SPDX-License-Identifier: Apache-2.0
"""Infidelity against Captum's, and what it says of maps whose worth is known."""

import pytest
import torch
from captum.metrics import infidelity
from torch import nn

from fedxai.score import Asked
from fedxai.score.imputation import impute
from fedxai.score.infidelity import DRAWS, Infidelity, _box


def _asked(network, shape, method="gradient_x_input"):
    inputs = torch.rand(3, 1, *shape, generator=torch.Generator().manual_seed(3))
    return Asked(network=network, inputs=inputs, targets=torch.tensor([1, 0, 1]), method=method)


def _network(dims):
    torch.manual_seed(5)
    convolution, pool = {2: (nn.Conv2d, nn.AdaptiveAvgPool2d), 3: (nn.Conv3d, nn.AdaptiveAvgPool3d)}[dims]
    return nn.Sequential(convolution(1, 6, 3), nn.ReLU(), pool(2), nn.Flatten(), nn.Linear(6 * 2**dims, 2)).eval()


@pytest.mark.parametrize("shape", [(13, 14), (9, 8, 7)])
def test_it_is_captums_normalised_infidelity_as_a_share_of_the_mean_square_fall(shape):
    asked = _asked(_network(len(shape)), shape)
    own = Infidelity().value(asked)
    generator, draws = asked.generator(), iter(range(1, DRAWS + 1))
    taken = [
        (asked.inputs - impute(asked.inputs, _box(asked, generator), asked.noise(draw))).double() for draw in draws
    ]
    network = asked.network.double()
    inputs = asked.inputs.double()
    order = iter(taken)

    def perturb(images):
        here = next(order)
        return here, images - here

    captums = infidelity(
        network,
        perturb,
        inputs,
        asked.relevance[:, None],
        target=asked.question.classes,
        n_perturb_samples=DRAWS,
        max_examples_per_batch=len(inputs),
        normalize=True,
    )

    def logit(images):
        return network(images).gather(1, asked.question.classes[:, None]).squeeze(1)

    falls = torch.stack([(logit(inputs) - logit(inputs - here)) ** 2 for here in taken]).mean(dim=0)
    torch.testing.assert_close(own, (captums / falls).detach(), rtol=1e-3, atol=1e-4)


def test_a_linear_network_is_foretold_by_gradients_and_its_map_has_no_unit():
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(12 * 12, 2)).eval()
    # hiding takes the difference to the surroundings away, so that the gradient foretells it and not gradient x input
    assert Infidelity().value(_asked(linear, (12, 12), "saliency")).min() > 0.3

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = linear

        def forward(self, image):
            return 100 * self.inner(image)

    plain, scaled = (Infidelity().value(_asked(network, (12, 12))) for network in (linear, Scaled()))
    torch.testing.assert_close(plain, scaled, rtol=1e-4, atol=1e-6)


def test_maps_without_knowledge_foretell_nothing_and_good_ones_foretell_most(stripes, stripes_cases, bad_methods):
    images, labels = stripes_cases["image"][:8], stripes_cases["label"][:8]

    def measured(method):
        return Infidelity().value(Asked(network=stripes, inputs=images, targets=labels, method=method)).mean()

    assert measured("gradient_x_input") < 0.6
    assert measured(bad_methods["constant"]) > 0.8
    assert measured(bad_methods["centred_gaussian"]) > 0.8


def test_where_nothing_changes_the_logit_there_is_no_value():
    class Blind(nn.Module):
        def forward(self, image):
            return torch.stack([image.flatten(1).sum(dim=1) * 0, image.flatten(1).sum(dim=1) * 0 + 1], dim=1)

    assert Infidelity().value(_asked(Blind(), (8, 8), "occlusion")).isnan().all()
