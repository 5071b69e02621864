# SPDX-License-Identifier: Apache-2.0
"""What a round made is gone after it, also where it refers to itself, as MONAI's trainers do."""

import gc
import weakref
from types import SimpleNamespace

import pytest

from fedxai.flare.executors import TrainExecutor


class Trainer:
    """A cycle, as an engine and its handlers are."""

    def __init__(self):
        self.myself = self


@pytest.fixture
def without_the_collector():
    """Python's own collector comes when it likes; here it does not come."""
    gc.disable()
    yield
    gc.enable()


def test_a_trainer_that_refers_to_itself_is_gone_when_the_update_leaves(monkeypatch, without_the_collector):
    monkeypatch.setattr("fedxai.flare.executors.read_dxo", lambda message: SimpleNamespace(data={}))
    monkeypatch.setattr("fedxai.flare.executors.update_message", lambda *_, **__: "update")
    made = []

    def train(weights, **_):
        made.append(weakref.ref(Trainer()))
        return SimpleNamespace(difference={}, loss=0.5, steps=1, seconds=1.0)

    trainer = SimpleNamespace(settings=SimpleNamespace(validate_every=2), train=train, training_cases=3)
    message = SimpleNamespace(get_header=lambda _: 1)
    told = {"settings": SimpleNamespace(minimum_cell=5), "patients": {"training": None}}
    answer = TrainExecutor().answer("train", SimpleNamespace(name="site-1", trainer=trainer, **told), message, None)
    assert answer == "update"
    assert made[0]() is None
