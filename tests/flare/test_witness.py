# SPDX-License-Identifier: Apache-2.0
"""Site and server must say the same of a message, or their ledgers could not be compared."""

import numpy as np
import pytest
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable
from nvflare.fuel.utils import fobs

from fedxai.errors import RunError, UpdateError
from fedxai.flare.messages import refusal, summary_message, update_message
from fedxai.flare.witness import HEAD, head_of, payload_of, record_arrival, set_head
from fedxai.privacy.compare import compare
from fedxai.privacy.ledger import Ledger
from fedxai.records import CaseCounts, Evaluation, Evaluations, Figure, Holding, SiteRound, Survey


def update(large: int = 1) -> Shareable:
    weights = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array(1.5, np.float32),
        "c": np.zeros(large, np.float32),
    }
    report = SiteRound(name="site-1", training_loss=0.5, validation={}, steps=1, seconds=1)
    return update_message(weights, report, cases=7)


def survey() -> Shareable:
    counts = CaseCounts(training=1, validation=1, test=1)
    holding = Holding(case_records=3, bytes=9)
    record = Survey(cases=counts, minimum_cell=5, holding=holding, classes=2, bundle_digest="0" * 64)
    return summary_message(record)


@pytest.mark.parametrize(
    ("make", "task", "kind"),
    [
        (update, "train", "update"),
        (lambda: update(3_000_000), "train", "update"),  # over 10 MB FLARE sends a tensor apart from the rest
        (survey, "survey", "survey"),
        (lambda: refusal(RunError("no")), "train", "refusal"),
    ],
)
def test_a_message_has_the_same_digest_after_it_travelled(make, task, kind):
    sent = payload_of(make(), task)
    message = make()
    message.set_header("added on the way", "by FLARE")
    arrived = payload_of(fobs.loads(fobs.dumps(message)), task)
    assert sent == arrived
    assert sent.kind == kind
    assert sent.size > 0


def test_bytes_are_those_of_what_is_carried():
    report = SiteRound(name="site-1", training_loss=0.5, validation={}, steps=1, seconds=1)
    sizes = [
        payload_of(update_message({"w": np.zeros(count, np.float32)}, report, cases=1), "train").size
        for count in (10, 1010)
    ]
    assert sizes[1] - sizes[0] == pytest.approx(4000, abs=8)
    assert payload_of(refusal(RunError("no")), "train").size == len("RunError: no")


def test_what_tells_of_single_cases_is_counted_at_both_ends():
    one, many = (Figure(value=0.5, n=n) for n in (1, 6))
    part = Evaluation(
        split="test", cases=6, patients=6, metrics={"loss": one, "accuracy": one}, confusion=[[1, 0], [4, 1]]
    )
    counted = payload_of(summary_message(Evaluations(validation=part, test=part)), "validate")
    assert counted.case_records == 2 * (1 + 2)
    told = SiteRound(name="site-1", training_loss=0.5, validation={"loss": one}, steps=1, seconds=1)
    assert payload_of(update_message({}, told, cases=7), "train").case_records == 1
    untold = part.model_copy(update={"metrics": {"loss": many}, "confusion": [[None, 0], [4, None]]})
    assert payload_of(summary_message(untold), "validate").case_records == 0


def test_another_weight_is_another_digest():
    other = update()
    other["DXO"]["data"]["a"][0, 0] += 1e-7
    assert payload_of(other, "train").digest != payload_of(update(), "train").digest


def test_the_place_of_the_sites_ledger_travels_and_is_kept_by_the_server(tmp_path):
    site, server = Ledger(tmp_path / "site.jsonl"), Ledger(tmp_path / "server.jsonl")
    found = payload_of(update(), "train")
    head = site.record(kind=found.kind, size=found.size, digest=found.digest, task="train", round_=0, job="j")
    arrived = fobs.loads(fobs.dumps(set_head(update(), head)))
    assert head_of(arrived) == head
    record_arrival(server, arrived, site="site-1", task="train", round_=0, job="j")
    [entry] = server.entries()
    assert (entry.head, entry.site, entry.decision, entry.case_records) == (head, "site-1", "received", 0)
    assert compare(site.path, server.path).agrees


@pytest.mark.parametrize("head", [{"count": 1}, {"count": -1, "hash": "0" * 64}, "x", {"count": 1, "hash": "y" * 64}])
def test_a_head_that_is_none_is_refused_and_entered_as_such(tmp_path, head):
    message = update()
    message.set_header(HEAD, head)
    with pytest.raises(UpdateError, match="breaks its schema"):
        head_of(message)
    server = Ledger(tmp_path / "server.jsonl")
    record_arrival(server, message, site="site-1", task="train", round_=0, job="j")
    [entry] = server.entries()
    assert (entry.decision, entry.reason) == ("refused", "unreadable")


def test_an_answer_without_content_is_entered_as_unreadable(tmp_path):
    message = Shareable()
    message.set_return_code(ReturnCode.OK)
    payload = record_arrival(Ledger(tmp_path / "s.jsonl"), message, site="site-1", task="train", round_=0, job="j")
    assert (payload.kind, payload.size) == ("unreadable", 0)
