# SPDX-License-Identifier: Apache-2.0
"""The final model of a job stays at the site for its own desk; a disk without room costs the model, not the answer."""

import errno
import logging
import shutil
from types import SimpleNamespace

import pytest

from fedxai.flare.executors import ExplainExecutor
from fedxai.flare.messages import ROLE


class Explains(ExplainExecutor):
    """With the message and the figures of another test."""

    def _examine(self, site, role):
        return SimpleNamespace(split="test")


@pytest.fixture
def asked(monkeypatch):
    """What an executor does when a role is explained at a site that keeps models like this."""
    monkeypatch.setattr("fedxai.flare.executors.read_dxo", lambda message: SimpleNamespace(data={}))
    monkeypatch.setattr("fedxai.flare.executors.released_explanation", lambda *_: "figures")
    monkeypatch.setattr("fedxai.flare.executors.summary_message", lambda figures: figures)

    def ask(role, keep_model):
        site = SimpleNamespace(
            name="site-1",
            trainer=SimpleNamespace(load=lambda weights: None),
            patients={"test": None},
            settings=SimpleNamespace(minimum_cell=5),
            keep_model=keep_model,
        )
        executor = Explains()
        executor.logger = logging.getLogger("site")
        return executor.answer("explain", site, SimpleNamespace(get_header={ROLE: role, "current_round": 3}.get), None)

    return ask


@pytest.mark.parametrize("role", ["last", "best"])
def test_a_final_model_is_kept_and_then_the_figures_leave(asked, role):
    kept = []
    assert asked(role, lambda: kept.append(role)) == "figures"
    assert kept == [role]


def test_a_full_disk_costs_the_model_and_not_the_answer(asked, caplog):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device", "/data/site/model")

    assert asked("last", full) == "figures"
    assert "site-1: the model could not be kept (No space left on device); the desk keeps the old one" in caplog.text
    assert "/data" not in caplog.text


def test_files_that_cannot_be_copied_cost_the_model_and_not_the_answer(asked, caplog):
    def full():
        raise shutil.Error([("/data/a", "/data/b", "No space left on device")])

    assert asked("last", full) == "figures"
    assert "the model could not be kept (its files cannot be written)" in caplog.text
    assert "/data" not in caplog.text
