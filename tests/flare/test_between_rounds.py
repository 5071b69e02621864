# SPDX-License-Identifier: Apache-2.0
"""From round to round: the first has nothing to agree with, the same model agrees wholly, another does not."""

import numpy as np
import torch
from torch import nn

from fedxai.flare.between_rounds import agreement_with_before


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


def test_a_round_is_compared_with_the_one_explained_before(tmp_path):
    trainer, file = Trainer(), tmp_path / "site" / "explained_before.npz"
    images = torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    batch = {"image": images, "label": torch.tensor([0, 1, 0, 1]), "group": list("abcd")}

    def ask():
        return agreement_with_before(trainer, file, lambda: [batch])

    assert ask() is None
    assert (ask().value, ask().n) == (1.0, 4)
    other = {
        name: np.random.default_rng(1).standard_normal(value.shape).astype("f4")
        for name, value in trainer.weights().items()
    }
    trainer.load(other)
    assert ask().value < 0.9
    assert all(np.array_equal(value, other[name]) for name, value in trainer.weights().items())
    assert ask().value == 1.0
    assert [path.name for path in file.parent.iterdir()] == ["explained_before.npz"]
