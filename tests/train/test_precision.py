# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from monai.inferers import SimpleInferer

from fedxai.bundle import Bundle
from fedxai.errors import SettingsError
from fedxai.settings import GuidanceSettings, TrainSettings, checked
from fedxai.train import guidance
from fedxai.train.engine import SiteTrainer
from fedxai.train.precision import InBfloat16


def updates(bundle, cases, *, precisely, **settings):
    train = TrainSettings(threads=1, local_steps=2, mixed_precision=not precisely, **settings)
    site = SiteTrainer(bundle=bundle, cases=cases, site="site-1", settings=train, device="cpu")
    seen = []
    for layer in site.network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda module, inputs, output: seen.append((module.training, output.dtype)))
    given = site.train(site.weights(), round_=0, rounds=1).difference
    site.evaluate("validation", intervals=False)
    return given, {dtype for training, dtype in seen if training}, {dtype for training, dtype in seen if not training}


def alike(first, second):
    a, b = (np.concatenate([value.ravel() for value in given.values()]) for given in (first, second))
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_a_training_pass_is_bfloat16_and_everything_else_float32(brain_bundle, phantom_cases):
    exact, in_training, _ = updates(brain_bundle, phantom_cases["site-1"], precisely=True)
    assert in_training == {torch.float32}
    mixed, in_training, in_evaluation = updates(brain_bundle, phantom_cases["site-1"], precisely=False)
    assert in_training == {torch.bfloat16}
    assert in_evaluation == {torch.float32}
    assert {value.dtype for value in mixed.values()} == {np.dtype("float32")}
    assert 0.9 < alike(exact, mixed) < 1 - 1e-9


@pytest.mark.slow
def test_relevance_is_held_against_the_region_in_float32(phantom_cases, monkeypatch):
    held = []
    real = guidance.relevance_loss

    def heard(relevance, region):
        held.append(relevance.dtype)
        return real(relevance, region)

    monkeypatch.setattr(guidance, "relevance_loss", heard)
    bundle = Bundle.open("brain_mri_tumor_local_evidence")
    guided = {"guidance": GuidanceSettings(terms=("relevance",))}
    exact, *_ = updates(bundle, phantom_cases["site-1"], precisely=True, **guided)
    mixed, in_training, _ = updates(bundle, phantom_cases["site-1"], precisely=False, **guided)
    assert in_training == {torch.bfloat16}
    assert set(held) == {torch.float32}
    assert alike(*(of_the_relevance(given) for given in (exact, mixed))) > 0.9
    assert alike(exact, mixed) > 0.75, "Adam's first steps are signs; bfloat16 turns small ones"


def of_the_relevance(given):
    return {name: value for name, value in given.items() if name.startswith("relevance.")}


def test_the_answer_keeps_its_graph():
    network = torch.nn.Conv2d(1, 2, 3)
    answer = InBfloat16(SimpleInferer())(torch.rand(1, 1, 8, 8), network)
    answer.sum().backward()
    assert answer.dtype == network.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("term", ["energy", "occlusion"])
def test_the_late_terms_need_float32(term):
    asked = {"mixed_precision": True, "guidance": {"terms": [term]}}
    with pytest.raises(SettingsError, match=r"^train: mixed_precision must be off under .* got terms"):
        checked(TrainSettings, asked, what="train")
