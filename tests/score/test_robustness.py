# SPDX-License-Identifier: Apache-2.0
"""Noise agreement, max-sensitivity and rotation agreement against plain restatements, and on maps known by hand."""

import pytest
import torch
from scipy.ndimage import rotate
from scipy.stats import spearmanr
from torch.nn.functional import avg_pool2d

from fedxai.explain import explain_batch
from fedxai.score import Asked, score_model
from fedxai.score.rotation_agreement import RotationAgreement, turned
from fedxai.score.similarity import rank_agreement


@pytest.fixture(scope="module")
def study(stripes, stripes_cases, bad_methods):
    """Every model score of two cases, by method."""
    inputs, targets = stripes_cases["image"][:2], stripes_cases["label"][:2]
    methods = ["gradient_x_input", *bad_methods.values()]
    asked = [Asked(network=stripes, inputs=inputs, targets=targets, method=method) for method in methods]
    names = ["gradient_x_input", *bad_methods]
    return {name: (one, score_model(one)) for name, one in zip(names, asked, strict=True)}


def test_both_noise_scores_are_the_worst_of_three_plain_draws(study, stripes):
    asked, scores = study["gradient_x_input"]
    agreements, changes = [], []
    for draw in (1, 2, 3):
        noisy = asked.inputs[:1] + 0.02 * asked.inputs[0].std() * asked.noise(draw)
        answer = explain_batch(stripes, noisy, targets=asked.question.classes[:1], methods=["gradient_x_input"])
        moved, own = answer.maps["gradient_x_input"][0, 0].double(), asked.relevance[0]
        counts = (own != 0) | (moved != 0)
        agreements.append(spearmanr(own[counts], moved[counts]).statistic)
        changes.append(float((moved - own).norm() / own.norm()))
    assert float(scores["noise_agreement"][0][0]) == pytest.approx(min(agreements), abs=1e-4)
    assert float(scores["max_sensitivity"][0][0]) == pytest.approx(max(changes), rel=1e-4)


def test_a_map_that_never_moves_has_no_sensitivity(study):
    for method, agreement in (("centred_gaussian", 1.0), ("constant", 0.0)):
        _, scores = study[method]
        assert scores["max_sensitivity"][0].tolist() == [0.0, 0.0]
        assert scores["noise_agreement"][0].tolist() == pytest.approx([agreement] * 2)


def test_a_map_drawn_anew_has_the_level_said_of_chance(study):
    _, scores = study["fresh_noise"]
    for name in ("noise_agreement", "max_sensitivity", "rotation_agreement"):
        value, chance, _ = scores[name]
        assert torch.allclose(value, chance, atol=0.15), name


def test_turning_is_that_of_scipy():
    image = torch.rand(1, 1, 21, 29).double().cumsum(dim=-1)
    wanted = rotate(image[0, 0].numpy(), 20, reshape=False, order=1)
    got = turned(image, 20.0)[0, 0].numpy()
    assert got[6:-6, 9:-9] == pytest.approx(wanted[6:-6, 9:-9], abs=1e-6)


def test_turning_is_in_millimetres():
    """An image whose rows lie 3 mm apart, against scipy's on the same image with 1 mm rows."""
    rows, columns = torch.meshgrid(torch.arange(63.0) - 31, torch.arange(63.0) - 31, indexing="ij")
    fine = torch.exp(-((rows - 6) ** 2 + (columns - 9) ** 2) / 60)
    wanted = rotate(fine.numpy(), 20, reshape=False, order=1)[1::3]
    got = turned(fine[None, None, 1::3], 20.0, spacing=torch.tensor([[3.0, 1.0]]))[0, 0].numpy()
    assert got[4:-4, 10:-10] == pytest.approx(wanted[4:-4, 10:-10], abs=0.06)
    flat = turned(fine[None, None, 1::3], 20.0)[0, 0].numpy()
    assert abs(flat - wanted).max() > 0.3


def test_a_volume_turns_in_its_last_two_axes():
    volume = torch.rand(1, 2, 4, 9, 12)
    slices = torch.stack([turned(volume[:, :, i]) for i in range(4)], dim=2)
    assert torch.allclose(turned(volume), slices, atol=1e-5)


def test_a_map_that_turns_with_the_image_agrees(study):
    assert (study["edge_detector"][1]["rotation_agreement"][0] > 0.6).all()
    assert (study["gradient_x_input"][1]["rotation_agreement"][0] > 0.3).all()
    assert (study["centred_gaussian"][1]["rotation_agreement"][0] > 0.99).all()


def test_beyond_the_turned_image_there_is_black(stripes, stripes_cases):
    """The same question in another unit of brightness: black at -1, not at 0."""
    shown, seen = [], stripes.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0].detach()))
    ask = {"network": stripes, "targets": stripes_cases["label"][:1], "method": "saliency"}
    for image, black in ((stripes_cases["image"][:1], 0.0), (stripes_cases["image"][:1] - 1, -1.0)):
        RotationAgreement().value(Asked(inputs=image, black=black, **ask))
    seen.remove()
    assert shown[3][0, 0, 0, 0] == -1
    torch.testing.assert_close(shown[3], shown[1] - 1, atol=1e-5, rtol=0)


def test_rotation_is_asked_in_millimetres(stripes, stripes_cases):
    ask = {"network": stripes, "targets": stripes_cases["label"][:1], "method": "saliency"}
    asked = Asked(inputs=stripes_cases["image"][:1], **ask)
    spacing = asked.spacing = torch.tensor([[3.0, 1.0]])
    after = asked.explain(turned(asked.inputs, spacing=spacing), moved=True)
    expected = turned(asked.relevance[:, None], spacing=spacing)
    inside = (turned(torch.ones_like(expected), spacing=spacing) > 0.999).to(expected)
    pooled = (avg_pool2d(maps * inside, 4)[0, 0].flatten() for maps in (expected, after[:, None]))
    found = float(RotationAgreement().value(asked))
    assert found == pytest.approx(float(rank_agreement(*(p[None] for p in pooled))), abs=1e-6)
    asked.spacing = None
    assert float(RotationAgreement().value(asked)) != pytest.approx(found, abs=1e-4)
