# SPDX-License-Identifier: Apache-2.0
"""Agreement between methods and between models."""

import copy
import math

import pytest
import torch

from fedxai.score import Asked, model_agreement
from fedxai.score.method_agreement import MethodAgreement
from fedxai.score.randomised import randomised
from fedxai.score.similarity import rank_agreement


@pytest.fixture
def asked(stripes, stripes_cases):
    images, labels = stripes_cases["image"][:3], stripes_cases["label"][:3]
    return Asked(network=stripes, inputs=images, targets=labels, method="gradient_x_input")


def test_methods_agree_by_the_mean_over_the_others(asked):
    first, second = torch.randn(3, 48, 48).double(), torch.randn(3, 48, 48).double()
    asked.others = {"first": first, "second": second, "dead": torch.zeros(3, 48, 48).double()}
    wanted = sum(rank_agreement(asked.relevance.abs(), other.abs()) for other in (first, second)) / 2
    assert torch.allclose(MethodAgreement().value(asked), wanted)


def test_a_method_agrees_with_its_negative_because_magnitudes_are_compared(asked):
    asked.others = {"negative": -asked.relevance}
    assert MethodAgreement().value(asked).tolist() == pytest.approx([1.0] * 3)


def test_a_method_alone_has_nothing_to_agree_with(asked):
    assert all(math.isnan(value) for value in MethodAgreement().value(asked).tolist())


def test_a_model_agrees_with_itself_and_not_with_one_that_learned_nothing(stripes, stripes_cases):
    cases = [{key: value[part] for key, value in stripes_cases.items()} for part in (slice(0, 4), slice(4, 6))]
    same = model_agreement((stripes, stripes), cases, method="saliency")
    assert (same.value, same.n) == (1.0, 6)
    other = model_agreement((stripes, randomised(stripes, 1.0)), cases)
    assert abs(other.value) < 0.3


def test_maps_without_relevance_are_counted_out(stripes, stripes_cases):
    cases = {key: value[:4] for key, value in stripes_cases.items()}
    cases["image"] = cases["image"].clone()
    cases["image"][1] = 0  # gradient x input of a black image
    assert model_agreement((stripes, stripes), [cases]).n == 3


def test_a_segmentation_is_asked_of_both_models_over_the_region_of_the_first():
    """The later one segments nothing any more; its reasons are still those of before."""
    torch.manual_seed(0)
    first = torch.nn.Conv2d(1, 2, 3, padding=1)
    later = copy.deepcopy(first)
    with torch.no_grad():
        later.bias[1] -= 100
    cases = {"image": torch.rand(3, 1, 12, 12), "label": torch.ones(3, dtype=torch.long), "group": list("abc")}
    found = model_agreement((first, later), [cases])
    assert (found.value, found.n) == (1.0, 3)
