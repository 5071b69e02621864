# SPDX-License-Identifier: Apache-2.0
"""Deletion and insertion against a slow loop, and the maps that know nothing."""

import numpy as np
import pytest
import torch

from fedxai.score import MODEL_SCORES, Asked
from fedxai.score.curves import (
    SHARES,
    centred_curves,
    curves,
    mirrored_curves,
    own_curves,
    random_curves,
    random_like,
)
from fedxai.score.imputation import impute


@pytest.fixture
def asked(stripes, stripes_cases):
    return Asked(
        network=stripes,
        inputs=stripes_cases["image"][:4],
        targets=stripes_cases["label"][:4],
        method="gradient_x_input",
    )


def plain_curves(asked, relevance):
    """Hide 4 x 4 cells (48 / 12) one share after the other, most relevant first."""
    cells = relevance.reshape(12, 4, 12, 4).mean(dim=(1, 3)).flatten()
    order = cells.argsort(descending=True).tolist()
    curve = {"deletion": [], "insertion": []}
    for share in SHARES:
        chosen = torch.zeros(144, dtype=torch.bool)
        chosen[[cell for rank, cell in enumerate(order) if rank / 144 < share]] = True
        mask = chosen.reshape(1, 1, 12, 12).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
        for name, hidden in (("deletion", mask), ("insertion", ~mask)):
            image = impute(asked.inputs[:1], hidden, asked.noise())
            curve[name].append(float(asked.network(image).softmax(dim=1)[0, asked.question.classes[0]]))
    return {name: float(np.trapezoid(values, SHARES)) for name, values in curve.items()}


def test_areas_are_those_of_a_slow_loop(asked):
    relevance = torch.randn(4, 48, 48, generator=torch.Generator().manual_seed(5)).double()
    got, wanted = curves(asked, relevance), plain_curves(asked, relevance[0])
    assert float(got.deletion[0]) == pytest.approx(wanted["deletion"], abs=1e-5)
    assert float(got.insertion[0]) == pytest.approx(wanted["insertion"], abs=1e-5)


def test_hiding_the_true_reason_first_loses_the_class_sooner(asked, stripes_cases):
    truth = stripes_cases["region"][:4, 0].double()
    right, wrong = curves(asked, truth), curves(asked, -truth)
    assert (right.deletion < wrong.deletion).all()
    assert (right.insertion > wrong.insertion).all()
    assert (right.gap > 0.2).all()


def test_a_symmetric_map_is_its_own_mirror_image(asked):
    asked.relevance = asked.gaussian
    assert torch.equal(own_curves(asked).gap, mirrored_curves(asked).gap)


@pytest.mark.parametrize("space", [(16, 15), (6, 7, 8)])
def test_a_random_map_is_as_smooth_as_the_one_it_is_like(space):
    relevance = torch.randn(2, *space, dtype=torch.float64).cumsum(dim=-1)
    made = random_like(relevance, torch.randn(2, *space, dtype=torch.float64))
    axes = tuple(range(1, len(space) + 1))
    before, after = (torch.fft.rfftn(maps, dim=axes).abs() for maps in (relevance, made))
    assert torch.allclose(before, after, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(relevance, made, atol=0.1)


def test_a_random_map_is_a_draw_of_the_cases_own(asked):
    """One draw for all would be luck that no interval over patients sees; it is of the image, not of the batch."""
    assert not torch.allclose(asked.white[0], asked.white[1], atol=0.1)
    alone = Asked(
        network=asked.network, inputs=asked.inputs[1:2], targets=asked.question.classes[1:2], method="saliency"
    )
    assert torch.equal(alone.white[0], asked.white[1])
    again = Asked(network=asked.network, inputs=asked.inputs, targets=asked.question.classes, method="saliency", seed=1)
    assert not torch.allclose(again.white, asked.white, atol=0.1)


def test_everything_hidden_and_nothing_hidden_are_asked_once(asked):
    before = asked.passes
    own_curves(asked)
    once = asked.passes - before
    assert once == 2 * (len(SHARES) - 2) + 2
    own_curves(asked)
    mirrored_curves(asked)
    assert asked.passes - before == 2 * once - 2


def test_the_gains_are_over_the_random_and_over_the_mirrored_map(asked):
    own, rivals = own_curves(asked), {"random": random_curves(asked), "mirrored": mirrored_curves(asked)}
    for name, rival in rivals.items():
        score = MODEL_SCORES.make(f"gain_over_{name}")
        torch.testing.assert_close(score.value(asked), own.gap - rival.gap)
        assert (rival.gap.abs() > 1e-3).any()
    torch.testing.assert_close(
        MODEL_SCORES.make("gain_over_random").centred(asked), centred_curves(asked).gap - random_curves(asked).gap
    )


def test_the_levels_of_deletion_and_insertion_are_those_of_the_maps_without_knowledge(asked):
    for name in ("deletion", "insertion"):
        score = MODEL_SCORES.make(name)
        for kind, found in (("value", own_curves), ("chance", random_curves), ("centred", centred_curves)):
            assert torch.equal(getattr(score, kind)(asked), getattr(found(asked), name)), (name, kind)
