# SPDX-License-Identifier: Apache-2.0
"""The doors of a cell: what the gate did not judge does not get through any of them."""

from types import SimpleNamespace

import pytest
from nvflare.fuel.f3.message import Message
from nvflare.fuel.f3.streaming.blob_streamer import BlobStream
from nvflare.fuel.f3.streaming.byte_streamer import ByteStreamer
from nvflare.fuel.f3.streaming.download_service import DownloadService
from nvflare.fuel.f3.streaming.stream_types import StreamError

from fedxai.errors import LedgerError, ReleaseError
from fedxai.flare.crossing import Crossing


class Cell:
    """What the doors hold of FLARE's cell: each way out writes to ``sent``."""

    def __init__(self) -> None:
        self.sent: list[tuple] = []
        self.byte_streamer = SimpleNamespace(send=self._stream)
        self.core_cell = SimpleNamespace(
            _send_to_endpoint=lambda to, message: self.sent.append(("frame", message)) or "",
            _process_request=lambda origin, message: self.taken.append(message),
        )
        self.taken: list[Message] = []
        self.byte_receiver = SimpleNamespace(reject=lambda message, error: self.rejected.append(str(error)))
        self.rejected: list[str] = []

    def _send_request(self, channel, topic, target, request):
        return self.byte_streamer.send(channel, topic, target, request.headers, BlobStream(b"x", None))

    def _broadcast_request(self, channel, topic, targets, request):
        send, blob = self.byte_streamer.send, BlobStream(b"x", None)
        return [send(channel, topic, target, dict(request.headers), blob) for target in targets]

    def _fire_and_forget(self, channel, topic, targets, message):
        return self.byte_streamer.send(channel, topic, targets, message.headers, BlobStream(b"x", None))

    def get_fqcn(self):
        return "site-1.job"

    def _frame(self, to, message):
        self.sent.append(("frame", message))
        return ""

    def _stream(self, channel, topic, target, headers, stream):
        self.sent.append((channel, topic, dict(headers)))
        return "sent"


@pytest.fixture
def doors(monkeypatch):
    monkeypatch.setattr(DownloadService, "add_object", lambda *args: "offered")
    cell, refused = Cell(), []

    def judge(channel, topic, message):
        if channel != "known":
            raise ReleaseError("channel", "only known")

    def judge_reply(payload):
        raise ReleaseError("content", "no content")

    crossing = Crossing(
        cell,
        judge=judge,
        judge_reply=judge_reply,
        refuse=lambda error, channel, size: refused.append((error.rule, channel)),
        instead=lambda *stopped: False,
    )
    crossing.install()
    return cell, refused


def test_a_judged_message_leaves_without_the_mark_that_says_so(doors):
    cell, refused = doors
    assert cell._send_request(channel="known", topic="t", target="server", request=Message({})) == "sent"
    assert cell._broadcast_request(channel="known", topic="t", targets=["a"], request=Message({})) == ["sent"]
    assert cell._fire_and_forget(channel="known", topic="t", targets=["a"], message=Message({})) == "sent"
    assert [headers for _, _, headers in cell.sent] == [{}, {}, {}]
    assert refused == []


def test_an_unknown_message_does_not_leave_by_any_door(doors):
    cell, refused = doors
    cell._send_request(channel="new", topic="t", target="server", request=Message({}))
    cell._broadcast_request(channel="new", topic="t", targets=["a"], request=Message({}))
    cell._fire_and_forget(channel="new", topic="t", targets=["a"], message=Message({}))
    with pytest.raises(StreamError):
        cell.byte_streamer.send("known", "t", "server", {}, BlobStream(b"pixels", None))
    with pytest.raises(StreamError):
        cell.byte_streamer.send("return_only", "a:b", "server", {}, BlobStream([b"pixels"], None))
    cell.core_cell._send_to_endpoint(None, Message({"cn__channel": "new", "cn__topic": "t"}, b"pixels"))
    cell.core_cell._send_to_endpoint(
        None, Message({"cn__channel": "sm__STREAM", "cn__topic": "sm__DATA", "sm__id": 7}, b"pixels")
    )
    cell.core_cell._send_to_endpoint(
        None, Message({"cn__channel": "cellnet.channel", "cn__topic": "bye", "pixels": b"pixels"})
    )
    with pytest.raises(ReleaseError):
        DownloadService.add_object("transaction", object())
    assert cell.sent == []
    assert len(refused) == 9


def test_a_header_that_flare_does_not_know_stops_a_message(doors):
    cell, refused = doors
    cell._send_request(channel="known", topic="t", target="server", request=Message({"pixels": b"\x00" * 64}))
    cell._send_request(channel="known", topic="t", target="server", request=Message({"project_name": "DOE JANE"}))
    assert cell.sent == []
    assert [rule for rule, _ in refused] == ["headers", "headers"]


def test_frames_of_a_judged_stream_pass_without_an_exceptions_text(doors, monkeypatch):
    cell, _ = doors
    stream = BlobStream(b"x", None)
    cell.byte_streamer.send("return_only", "download_service__:download_service__download", "server", {}, stream)
    monkeypatch.setitem(ByteStreamer.tx_task_map, 8, SimpleNamespace(stream=stream))
    frame = Message({"cn__channel": "sm__STREAM", "cn__topic": "sm__DATA", "sm__id": 8, "cn__error": "DOE^JANE"}, b"x")
    assert cell.core_cell._send_to_endpoint(None, frame) == ""
    assert frame.get_header("cn__error") == "refused by the site's gate"


def arriving(channel: str, topic: str) -> Message:
    return Message({"cn__channel": channel, "cn__topic": topic})


def streaming(channel: str, topic: str) -> Message:
    headers = {"cn__channel": "sm__STREAM", "cn__topic": "sm__DATA", "sm__ch": channel, "sm__tp": topic}
    return Message(headers, b"of the server")


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ("server", streaming("return_only", "server_command:get_task")),
        ("server", streaming("aux_communication", "__end_run__")),
        ("server", streaming("download_service__", "download_service__download")),
        ("server", arriving("sm__STREAM", "sm__ACK")),
        ("server", arriving("cellnet.channel", "bye")),
        ("site-1", arriving("client_command", "abort")),
    ],
)
def test_what_keeps_a_job_running_comes_in(doors, origin, message):
    cell, refused = doors
    cell.core_cell._process_request(origin, message)
    assert (cell.taken, refused) == ([message], [])


@pytest.mark.parametrize(
    "named",
    [
        ("aux_communication", "__do_task__"),
        ("aux_communication", "fed.event"),
        ("aux_communication", "ObjectStreamer.Request"),
        ("log_streaming", "live_log"),
        ("client_command", "show_stats"),
        ("new", "t"),
    ],
)
def test_nothing_else_of_the_server_comes_in_and_it_is_told(doors, named):
    cell, refused = doors
    reply = cell.core_cell._process_request("server", arriving(*named))
    assert cell.core_cell._process_request("server", streaming(*named)) is None
    assert cell.taken == []
    assert cell.rejected == [reply.get_header("cn__error")] == ["refused by the site's gate"]
    assert refused == [("channel", f"incoming.{named[0]}.{named[1]}")] * 2


def test_the_refusal_of_what_came_in_leaves_and_nothing_beside_it(doors):
    cell, refused = doors
    for headers, sent in (({"cn__error": "DOE^JANE"}, 1), ({"pixels": b"x"}, 1)):
        cell.core_cell._send_to_endpoint(None, Message({"cn__msg_type": "reply", "cn__channel": "new", **headers}))
        assert len(cell.sent) == sent
    assert cell.sent[0][1].get_header("cn__error") == "refused by the site's gate"
    assert [rule for rule, _ in refused] == ["headers"]


def test_what_cannot_be_recorded_does_not_leave(monkeypatch):
    monkeypatch.setattr(DownloadService, "add_object", lambda *args: "offered")
    cell = Cell()

    def refuse(*stopped):
        raise LedgerError("the ledger cannot be written, so nothing is sent")

    def judge(*asked):
        raise ReleaseError("channel", "only known")

    Crossing(cell, judge=judge, judge_reply=judge, refuse=refuse, instead=lambda *stopped: False).install()
    with pytest.raises(LedgerError):
        cell._send_request(channel="new", topic="t", target="server", request=Message({}))
    assert cell.sent == []
