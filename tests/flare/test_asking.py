# SPDX-License-Identifier: Apache-2.0
"""Who was asked and did not answer is named, whether it refused, failed or was silent."""

from types import SimpleNamespace

import pytest
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.app_constant import AppConstants

from fedxai.flare.asking import AskingController
from fedxai.flare.messages import summary_message
from fedxai.flare.recorder import Recorder
from fedxai.privacy.ledger import Ledger
from fedxai.records import CaseCounts, Holding, Survey


@pytest.fixture
def survey(brain_bundle):
    counts = CaseCounts(training=9, validation=9, test=9)
    holding = Holding(case_records=27, bytes=9)
    return Survey(cases=counts, minimum_cell=5, holding=holding, classes=3, bundle_digest=brain_bundle.digest)


@pytest.fixture
def controller(brain_bundle, survey, tmp_path):
    """Of a run of four sites, one of which FLARE no longer counts."""
    asking = AskingController(patience=1, first_patience=1, min_clients=1, num_rounds=1)
    asking._recorder = Recorder(bundle=brain_bundle, job="j", settings={}, key_metric="accuracy")
    asking._recorder.surveys = dict.fromkeys(["answers", "refuses", "sleeps", "gone"], survey)
    asking._ledger = Ledger(tmp_path / "ledger.jsonl")
    clients = [SimpleNamespace(name=name) for name in ("answers", "refuses", "sleeps")]
    asking._engine = SimpleNamespace(get_clients=lambda: clients)
    asking._arrived = lambda *_: None
    return asking


def test_every_site_of_the_run_answers_or_is_named_with_a_reason(controller, survey, monkeypatch):
    def broadcast(task, fl_ctx, **_):
        answers = {"answers": summary_message(survey), "refuses": make_reply("EXECUTION_EXCEPTION")}
        for name, result in answers.items():
            task.result_received_cb(SimpleNamespace(client=SimpleNamespace(name=name), result=result), fl_ctx)

    monkeypatch.setattr(controller, "broadcast_and_wait", broadcast)
    message = Shareable()
    message.set_header(AppConstants.CURRENT_ROUND, 0)
    for _ in range(2):
        answers, failures = controller._ask("explain", message, Survey, FLContext())
    assert answers == {"answers": survey}
    assert failures.keys() == {"refuses", "sleeps", "gone"}
    assert failures["sleeps"] == failures["gone"] == "no answer in time"
    assert [note.split(" (")[0] for note in controller.recorder.notes] == [
        f"Task explain: nothing from {site}" for site in ("refuses", "gone", "sleeps")
    ]


def test_answers_are_listed_in_the_order_of_sites_not_in_that_of_arrival(controller, survey, monkeypatch):
    """Tables and the colours of a picture would else change from run to run."""

    def broadcast(task, fl_ctx, **_):
        for name in ("sleeps", "answers", "refuses"):
            client = SimpleNamespace(name=name)
            task.result_received_cb(SimpleNamespace(client=client, result=summary_message(survey)), fl_ctx)

    monkeypatch.setattr(controller, "broadcast_and_wait", broadcast)
    message = Shareable()
    message.set_header(AppConstants.CURRENT_ROUND, 0)
    answers, _ = controller._ask("explain", message, Survey, FLContext())
    assert list(answers) == ["answers", "refuses", "sleeps"]
