# SPDX-License-Identifier: Apache-2.0
"""The gate with a site of real counts and tensors: tasks in, results out, and the ledger beside them."""

from types import SimpleNamespace

import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable, make_reply
from nvflare.app_opt.tensor_stream.client import TensorClientStreamer
from nvflare.fuel.f3.message import Message

from fedxai.errors import ReleaseError
from fedxai.flare.gate import Gate, IncomingGate, OutgoingGate, gate_of
from fedxai.flare.messages import REASON, read_dxo, read_summary, summary_message, update_message, weights_message
from fedxai.flare.protocol import SUBMIT
from fedxai.flare.site import Site
from fedxai.flare.witness import HEAD, head_of, set_head
from fedxai.intake.cohort import Cohort
from fedxai.privacy.chain import Head
from fedxai.privacy.ledger import Ledger
from fedxai.privacy.statistics import released_statistics
from fedxai.records import Evaluation, Evaluations, Figure, SiteRound, Survey
from fedxai.records_statistics import SiteStatistics
from fedxai.settings import ReleasePolicy, SiteSettings

WEIGHTS = {"w": np.ones(3, np.float32), "seen": np.array(4, np.int64)}
TASK_ID = "e57bd7ba-cfe2-463f-b8fa-42395f694910"


class StillSite(Site):
    """A site that has its counts and tensors, and trains nothing."""

    def __init__(self, cohort, bundle, folder) -> None:
        super().__init__(bundle=bundle.name)
        self._context = {"name": "site-1"}
        self.__dict__["bundle"] = bundle
        self.__dict__["cohort"] = cohort
        self.__dict__["settings"] = SiteSettings()
        self.__dict__["ledger"] = Ledger(folder / "ledger.jsonl")
        self.__dict__["trainer"] = SimpleNamespace(weights=lambda: WEIGHTS, training_cases=cohort.counts().training)


class Engine:
    """What the gate asks of FLARE's engine."""

    def __init__(self, site) -> None:
        self._site = site
        self._cell = SimpleNamespace(
            _send_request=None,
            _broadcast_request=None,
            _fire_and_forget=None,
            byte_streamer=SimpleNamespace(send=None),
            core_cell=SimpleNamespace(_send_to_endpoint=None, _process_request=None),
            get_fqcn=lambda: "site-1.job",
        )

    def get_component(self, name):
        return self._site

    def get_cell(self):
        return self._cell


@pytest.fixture
def site(phantom_root, brain_bundle, tmp_path):
    return StillSite(Cohort.open(phantom_root / "site-1"), brain_bundle, tmp_path)


@pytest.fixture
def at(site, monkeypatch):
    """A context at a task; the gate is closed."""
    from nvflare.fuel.f3.streaming.download_service import DownloadService

    monkeypatch.setattr(DownloadService, "add_object", DownloadService.add_object)
    engine = Engine(site)

    def context(task: str) -> FLContext:
        fl_ctx = FLContext()
        values = {
            "__engine__": engine,
            FLContextKey.TASK_NAME: task,
            FLContextKey.TASK_ID: TASK_ID,
            FLContextKey.CURRENT_RUN: "job",
        }
        for name, value in values.items():
            fl_ctx.set_prop(name, value, private=True, sticky=False)
        return fl_ctx

    return context


@pytest.fixture
def task(at):
    """Give the site a task, as the server does."""

    def give(name: str) -> FLContext:
        fl_ctx = at(name)
        message = Shareable() if name in ("survey", "statistics") else weights_message(WEIGHTS, round_=2)
        IncomingGate().process(message, fl_ctx)
        return fl_ctx

    return give


def update(**change) -> Shareable:
    figure = Figure(value=0.5, n=8)
    report = SiteRound(name="site-1", training_loss=0.5, validation={"loss": figure}, steps=3, seconds=1)
    return update_message({"w": np.full(3, 0.1, np.float32)}, report, cases=change.get("cases", 25))


@pytest.fixture
def honest(site) -> Shareable:
    return update(cases=site.trainer.training_cases)


def refused(site) -> list[str]:
    return [entry.reason for entry in site.ledger.entries() if entry.decision == "refused"]


def test_an_update_leaves_as_it_was_with_its_place_on_the_ledger(task, honest, site):
    out = OutgoingGate().process(honest, task("train"))
    np.testing.assert_array_equal(read_dxo(out).data["w"], read_dxo(honest).data["w"])
    assert read_dxo(out).meta == read_dxo(honest).meta
    [entry] = site.ledger.entries()
    assert (entry.decision, entry.kind, entry.round, entry.job) == ("released", "update", 2, "job")
    assert entry.policy
    assert head_of(out) == site.ledger.head()


def test_where_the_servers_ledger_stood_is_kept_with_the_answer(at, honest, site):
    fl_ctx, told = at("train"), Head(count=3, hash="a" * 64)
    IncomingGate().process(set_head(weights_message(WEIGHTS, round_=2), told), fl_ctx)
    OutgoingGate().process(honest, fl_ctx)
    [entry] = site.ledger.entries()
    assert entry.head == told


def test_what_an_executor_gets_has_no_header_that_nobody_knows(at):
    task = weights_message(WEIGHTS, round_=2, fedxai_role="round", of_the_server="run me")
    task.set_cookie_jar({"kept": 1})
    got = IncomingGate().process(task, at("train"))
    assert got.get_header("of_the_server") is None
    assert (got.get_header("fedxai_role"), got.get_cookie_jar()) == ("round", {"kept": 1})
    again = IncomingGate().process(got, at("train"))  # the job's filter after the site's
    assert again[ReservedHeaderKey.HEADERS] == got[ReservedHeaderKey.HEADERS]


def test_a_place_of_the_servers_ledger_that_is_none_is_refused(at, site):
    task = weights_message(WEIGHTS, round_=2)
    task.set_header(HEAD, {"count": 1, "hash": "DOE^JANE"})
    with pytest.raises(ReleaseError, match="count and a hash"):
        IncomingGate().process(task, at("train"))
    assert refused(site) == ["headers"]


def test_two_gates_in_a_row_record_once(task, honest, site):
    fl_ctx = task("train")
    out = OutgoingGate().process(OutgoingGate().process(honest, fl_ctx), fl_ctx)
    assert head_of(out).count == 1
    assert len(list(site.ledger.entries())) == 1


def test_a_summary_leaves_as_it_was(task, site):
    survey = Survey(
        cases=site.cohort.counts(),
        minimum_cell=site.settings.minimum_cell,
        holding=site.cohort.holding(),
        classes=3,
        bundle_digest=site.bundle.digest,
    )
    assert read_summary(OutgoingGate().process(summary_message(survey), task("survey")), Survey) == survey


def test_statistics_leave_as_they_were_and_with_one_patients_bin_not_at_all(task, site):
    honest = released_statistics(site.statistics(), site.settings.minimum_cell)
    sent = OutgoingGate().process(summary_message(honest), task("statistics"))
    assert read_summary(sent, SiteStatistics) == honest
    [first, *rest] = honest.histogram
    alone = first.model_copy(update={"share": first.share.model_copy(update={"n": 1})})
    tampered = honest.model_copy(update={"histogram": [alone, *rest]})
    out = OutgoingGate().process(summary_message(tampered), task("statistics"))
    assert "DXO" not in out
    assert refused(site) == ["small_cell"]
    assert next(site.ledger.entries()).kind == "statistics"


def test_nobody_asks_for_statistics_by_weights_or_against_the_policy(at, site):
    with pytest.raises(ReleaseError, match="nothing but"):
        IncomingGate().process(weights_message(WEIGHTS, round_=0), at("statistics"))
    site.__dict__["settings"] = SiteSettings(policy=ReleasePolicy(tasks=("survey", "train")))
    gate_of(at("statistics")).__dict__.pop("_judgement", None)
    with pytest.raises(ReleaseError, match="policy.tasks"):
        IncomingGate().process(Shareable(), at("statistics"))


def extra_header(message):
    message.set_header("saliency", b"\x00" * 64)


def extra_content(message):
    message["saliency"] = b"\x00" * 64


def extra_tensor(message):
    read_dxo(message).data["saliency"] = np.zeros(64, np.float32)


def extra_meta(message):
    read_dxo(message).meta["patient"] = "DOE^JANE"


def other_cases(message):
    read_dxo(message).meta["NUM_STEPS_CURRENT_ROUND"] = 7


def other_metrics(message):
    read_dxo(message).meta["initial_metrics"] = {"loss": 0.123456789}


def too_long(message):
    read_dxo(message).data["w"] = np.full(3, 1e6, np.float32)


def other_kind(message):
    message["DXO"]["kind"] = "APP_DEFINED"


def beside_the_dxo(message):
    message["DXO"]["pixels"] = b"\x00"


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (extra_header, "headers"),
        (extra_content, "content"),
        (extra_tensor, "tensors"),
        (extra_meta, "content"),
        (other_cases, "counts"),
        (other_metrics, "counts"),
        (too_long, "norm"),
        (other_kind, "content"),
        (beside_the_dxo, "content"),
    ],
)
def test_a_result_that_holds_more_is_replaced_by_a_sentence_and_recorded(task, honest, site, spoil, rule):
    spoil(honest)
    out = OutgoingGate().process(honest, task("train"))
    assert out.get_return_code() == "EXECUTION_EXCEPTION"
    assert out.get_header(REASON).startswith("ReleaseError: ")
    assert out.keys() == {ReservedHeaderKey.HEADERS}
    assert set(out[ReservedHeaderKey.HEADERS]) == {ReservedHeaderKey.RC, REASON, HEAD}
    assert refused(site) == [rule]
    assert b"DOE" not in site.ledger.path.read_bytes()


def test_a_public_property_beside_a_result_stops_it(task, honest, site):
    fl_ctx = task("train")
    fl_ctx.set_prop("patient", "DOE^JANE", private=False, sticky=False)
    assert OutgoingGate().process(honest, fl_ctx).get_header(REASON).startswith("ReleaseError: public properties")
    assert refused(site) == ["headers"]


def test_an_answer_to_a_task_that_the_policy_leaves_out_does_not_leave(at, site):
    part = Evaluation(split="test", cases=8, patients=8, metrics={})
    site.__dict__["settings"] = SiteSettings(policy=ReleasePolicy(tasks=("survey",)))
    out = OutgoingGate().process(summary_message(Evaluations(validation=part, test=part)), at("validate"))
    assert "policy.tasks" in out.get_header(REASON)
    with pytest.raises(ReleaseError, match="this site answers survey"):
        IncomingGate().process(weights_message(WEIGHTS, round_=0), at("train"))


@pytest.mark.parametrize(
    ("code", "sentence", "out"),
    [
        ("TASK_ABORTED", None, ("TASK_ABORTED", None)),
        ("EXECUTION_EXCEPTION", "RunError: no answer", ("EXECUTION_EXCEPTION", "RunError: no answer")),
        ("DOE^JANE", "RunError: no answer", ("EXECUTION_EXCEPTION", "RunError: no answer")),
        (
            "EXECUTION_EXCEPTION",
            "ValueError: DOE^JANE",
            ("EXECUTION_EXCEPTION", "ValueError: the site's log says why"),
        ),
    ],
)
def test_a_refusal_keeps_its_code_and_known_words(task, site, code, sentence, out):
    reply = make_reply(code, {} if sentence is None else {REASON: sentence})
    found = OutgoingGate().process(reply, task("train"))
    assert (found.get_return_code(), found.get_header(REASON)) == out
    assert refused(site) == ([] if out == (code, sentence) else ["sentence"])


def weights_and_more():
    return weights_message({**WEIGHTS, "more": np.ones(1, np.float32)}, round_=0)


def weights_as_pickle():
    message = weights_message(WEIGHTS, round_=0)
    message["code"] = b"\x80\x04"
    return message


@pytest.mark.parametrize(
    "message",
    [
        weights_and_more(),
        weights_as_pickle(),
        weights_message({**WEIGHTS, "w": np.full(3, np.nan, np.float32)}, round_=0),
        weights_message({**WEIGHTS, "w": np.ones(3, np.float64)}, round_=0),
        weights_message(WEIGHTS, round_=0, fedxai_role="all"),
        DXO(DataKind.APP_DEFINED, data=dict(WEIGHTS)).to_shareable(),
        Shareable(),
    ],
)
def test_a_task_with_anything_but_the_networks_weights_is_refused(at, site, message):
    with pytest.raises(ReleaseError):
        IncomingGate().process(message, at("train"))
    assert len(refused(site)) == 1


def completed(out: Shareable) -> Message:
    """The result as FLARE sends it."""
    out.set_header(ReservedHeaderKey.TASK_ID, TASK_ID)
    out.set_header(ReservedHeaderKey.TASK_NAME, "train")
    return Message({}, out)


def test_a_result_that_was_changed_after_the_gate_does_not_leave(task, honest):
    fl_ctx = task("train")
    gate = gate_of(fl_ctx)
    out = OutgoingGate().process(honest, fl_ctx)
    gate.judge(*SUBMIT, completed(out))
    read_dxo(out).data["w"][0] = 0.2
    with pytest.raises(ReleaseError, match="recorded"):
        gate.judge(*SUBMIT, completed(out))


def test_a_result_whose_tensors_flares_streamer_took_out_does_not_leave(task, honest):
    fl_ctx = task("train")
    gate = gate_of(fl_ctx)
    out = OutgoingGate().process(honest, fl_ctx)
    fl_ctx.set_prop(FLContextKey.TASK_RESULT, out, private=True, sticky=False)
    fl_ctx.set_peer_context(FLContext())
    streamer, streamed = TensorClientStreamer(format="numpy"), []
    streamer.engine = SimpleNamespace(stream_objects=lambda **stream: streamed.append(stream["channel"]))
    streamer.handle_event(EventType.AFTER_TASK_RESULT_FILTER, fl_ctx)
    assert streamed == ["tensor_stream"], "they would go by aux messages, which the gate's protocol does not know"
    assert read_dxo(out).data == {}
    with pytest.raises(ReleaseError, match="recorded"):
        gate.judge(*SUBMIT, completed(out))


def test_a_result_that_never_was_at_the_gate_becomes_a_refusal_on_its_way(task, honest, site):
    gate, message = gate_of(task("train")), completed(honest)
    with pytest.raises(ReleaseError) as error:
        gate.judge(*SUBMIT, message)
    assert gate.instead(error.value, *SUBMIT, message)
    assert message.payload.get_return_code() == "EXECUTION_EXCEPTION"
    assert "DXO" not in message.payload
    gate.judge(*SUBMIT, message)


def test_a_job_without_our_site_sends_nothing_at_all(at):
    fl_ctx = at("train")
    engine = fl_ctx.get_engine()
    engine._site = object()
    with pytest.raises(ReleaseError, match="must be a Site"):
        Gate().close(fl_ctx)
    with pytest.raises(ReleaseError, match="not closed yet"):
        engine.get_cell()._send_request(channel="a", topic="b", target="server", request=Message({}, None))
