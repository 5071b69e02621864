# SPDX-License-Identifier: Apache-2.0
"""What a round made is gone after it, also where it refers to itself, and what it tells is not of a few cases."""

import gc
import weakref
from types import SimpleNamespace

import pytest

from fedxai.flare.executors import TrainExecutor


class Trainer:
    """A cycle, as an engine and its handlers are."""

    def __init__(self):
        self.myself = self


UPDATE = SimpleNamespace(difference={}, loss=0.5, steps=1, seconds=1.0)
MESSAGE = SimpleNamespace(get_header=lambda _: 1)


def site(train, cases):
    """What an executor asks of a site in a round that is not validated."""
    trainer = SimpleNamespace(settings=SimpleNamespace(validate_every=2), train=train, training_cases=cases)
    return SimpleNamespace(
        name="site-1", trainer=trainer, settings=SimpleNamespace(minimum_cell=5), patients={"training": None}
    )


@pytest.fixture
def without_the_collector():
    """Python's own collector comes when it likes; here it does not come."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(("cases", "loss"), [(4, None), (5, 0.5)])
def test_the_loss_over_a_few_training_cases_stays_in_the_site(monkeypatch, cases, loss):
    monkeypatch.setattr("fedxai.flare.executors.read_dxo", lambda message: SimpleNamespace(data={}))
    monkeypatch.setattr("fedxai.flare.executors.update_message", lambda _, report, **__: report)
    answer = TrainExecutor().answer("train", site(lambda *_, **__: UPDATE, cases), MESSAGE, None)
    assert answer.training_loss == loss


def test_a_trainer_that_refers_to_itself_is_gone_when_the_update_leaves(monkeypatch, without_the_collector):
    monkeypatch.setattr("fedxai.flare.executors.read_dxo", lambda message: SimpleNamespace(data={}))
    monkeypatch.setattr("fedxai.flare.executors.update_message", lambda *_, **__: "update")
    made = []

    def train(weights, **_):
        made.append(weakref.ref(Trainer()))
        return UPDATE

    assert TrainExecutor().answer("train", site(train, 30), MESSAGE, None) == "update"
    assert made[0]() is None
