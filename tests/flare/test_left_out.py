# SPDX-License-Identifier: Apache-2.0
"""A method that cannot explain the bundle's network: the site's log says why, the answer names it, the others go on."""

import logging
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fedxai.flare.executors import ExplainExecutor
from fedxai.settings import ExplainSettings
from fedxai.train.engine import SiteTrainer


class Trainer:
    """What the executor asks of the site's trainer: a network with a pooled target layer, and four cases."""

    answering = SiteTrainer.answering

    def __init__(self, bundle):
        torch.manual_seed(0)
        self.bundle = bundle
        self.asked_network = nn.Sequential(
            nn.Conv3d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)
        )

    def background(self, methods):
        return None

    def explanation_batches(self, split, *, limit, batch_size):
        cases = min(limit, 4)
        region = torch.zeros(cases, 1, 8, 8, 8, dtype=torch.bool)
        region[:, :, 2:5, 2:5, 2:5] = True
        yield {
            "image": torch.rand(cases, 1, 8, 8, 8),
            "label": torch.zeros(cases, dtype=torch.long),
            "region": region,
            "has_region": torch.ones(cases, dtype=torch.bool),
            "group": list("abcd")[:cases],
            "spacing": torch.tensor([1.0, 1.0, 3.0]),
        }


@pytest.fixture
def examine(tmp_path):
    """What an executor begun anew answers at a site whose bundle asks for a method that cannot be."""
    asked = SimpleNamespace(methods=["saliency", "grad_cam"], target_layer="2")
    question = {"target_layer": "2", "target_class": "predicted"}
    bundle = SimpleNamespace(explain=asked, task="classification", question=question)
    site = SimpleNamespace(
        explain=ExplainSettings(gallery=0), bundle=bundle, trainer=Trainer(bundle), folder=tmp_path / "fedxai"
    )

    def answer():
        executor = ExplainExecutor()
        executor.logger = logging.getLogger("site")
        return executor._examine(site, "round")

    return answer


def test_the_answer_names_what_is_left_out_and_has_the_others(examine, caplog):
    explanation = examine()
    assert [method.method for method in explanation.methods] == ["saliency"]
    assert explanation.left_out == ["grad_cam"]
    assert "grad_cam is left out: target_layer '2' puts out a single cell" in caplog.text


def test_it_is_said_once_a_run_whatever_process_answers(examine, caplog):
    assert [examine().left_out for _ in range(3)] == [["grad_cam"]] * 3
    assert caplog.text.count("is left out") == 1
