# SPDX-License-Identifier: Apache-2.0
"""From round to round: the first has nothing to agree with, the same model agrees wholly, another does not."""

import numpy as np
import pytest
import torch
from torch import nn

from fedxai.flare.between_rounds import agreement_with_before
from fedxai.train.round_files import RoundFiles


class Trainer:
    """What is asked of the site's trainer."""

    def __init__(self):
        torch.manual_seed(0)
        self.network = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 2)
        )

    @property
    def asked_network(self):
        return self.network

    def weights(self):
        return {name: value.detach().numpy().copy() for name, value in self.network.state_dict().items()}

    def load(self, weights):
        self.network.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()})


@pytest.fixture
def ask(tmp_path):
    """Explain a trainer's model in a round."""
    images = torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    batch = {"image": images, "label": torch.tensor([0, 1, 0, 1]), "group": list("abcd")}
    kept = RoundFiles(tmp_path / "site" / "explained_before.npz")
    return lambda trainer, round_: agreement_with_before(trainer, kept, round_, lambda: [batch])


def change(trainer: Trainer, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    other = {name: rng.standard_normal(value.shape).astype("f4") for name, value in trainer.weights().items()}
    trainer.load(other)
    return other


def test_a_round_is_compared_with_the_one_explained_before(ask, tmp_path):
    trainer = Trainer()
    assert ask(trainer, 1) is None
    assert (ask(trainer, 2).value, ask(trainer, 2).n) == (1.0, 4)
    other = change(trainer, 1)
    assert ask(trainer, 4).value < 0.9
    assert all(np.array_equal(value, other[name]) for name, value in trainer.weights().items())
    assert ask(trainer, 6).value == 1.0
    names = sorted(path.name for path in (tmp_path / "site").iterdir())
    assert names == [f"explained_before.{round_}.npz" for round_ in (2, 4, 6)]


def test_a_round_that_is_repeated_is_compared_with_the_one_below_it_again(ask):
    """After a crash the server asks again for rounds that this site has explained already."""
    trainer = Trainer()
    ask(trainer, 1)
    change(trainer, 1)
    first = ask(trainer, 2)
    ask(trainer, 3)
    assert ask(trainer, 2) == first
    assert first.value < 0.9
