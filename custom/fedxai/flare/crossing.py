# SPDX-License-Identifier: Apache-2.0
"""The doors of a FLARE cell: every way out of a job process and into it asks the gate first."""

import logging
import secrets
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, MessageType, ReturnCode
from nvflare.fuel.f3.cellnet.utils import make_reply
from nvflare.fuel.f3.message import Message
from nvflare.fuel.f3.streaming.byte_streamer import ByteStreamer
from nvflare.fuel.f3.streaming.download_service import DownloadService
from nvflare.fuel.f3.streaming.stream_const import (
    STREAM_ACK_TOPIC,
    STREAM_CHANNEL,
    STREAM_DATA_TOPIC,
    STREAM_ERROR_TOPIC,
    StreamHeaderKey,
)
from nvflare.fuel.f3.streaming.stream_types import StreamError
from nvflare.fuel.utils import fobs

from fedxai.errors import ReleaseError
from fedxai.flare.protocol import DOWNLOAD, FRAME, MESSAGE, REPLIES, check_arrival, check_to_parent
from fedxai.privacy.envelope import check

_PASS = "fedxai_pass"  # header of a message that was judged; taken off before it leaves
_QUIET = ("cellnet.channel",)  # a cell's own goodbye; nothing is carried
_REFUSED = "refused by the site's gate"  # stands wherever FLARE would tell an exception's text
_ERRORS = (MessageHeaderKey.ERROR, StreamHeaderKey.ERROR_MSG)
Judge = Callable[[str, str, Message], None]
Refuse = Callable[[ReleaseError, str, int], None]
JudgeReply = Callable[[object], None]
Instead = Callable[[ReleaseError, str, str, Message], bool]


class Crossing:
    """Holds three rows of doors on the way out, each for what goes round the one before, and one on the way in.

    1. `Cell`: requests and events, while they are still objects; the gate's ``judge`` decides.
    2. `ByteStreamer`: streams of bytes; only what row 1 let pass, and replies with nothing in them.
    3. `CoreCell`: single frames; only those of streams that row 2 let pass, and what keeps the streams going.

    Into the process come replies, among them the tasks that it asks for, which the gate's filter judges, and FLARE's
    messages that keep a job running; what else the server sends is refused before it is put together or decoded.

    Tensors that FLARE offers for download instead of sending may be offered only while a judged message is encoded.
    FLARE's own filters are not enough: they see encoded pieces only, and a more specific one switches ours off.

    Args:
        cell: the job process's cell.
        judge: raises ReleaseError for what may not leave.
        judge_reply: the same for a reply to a message of the server.
        refuse: is told what was stopped, on which channel, and its size in bytes where known.
        instead: may turn a stopped message into one that says so and says whether it did.
    """

    def __init__(self, cell: Any, *, judge: Judge, judge_reply: JudgeReply, refuse: Refuse, instead: Instead) -> None:
        self._cell, self._judge, self._refuse, self._instead = cell, judge, refuse, instead
        self._judge_answer = judge_reply
        self._parent = str(cell.get_fqcn()).rpartition(".")[0]
        self._token = secrets.token_hex(16)
        self._passing = threading.local()
        self._streams: WeakSet[Any] = WeakSet()
        self._sids: set[object] = set()
        self.stopped: dict[str, int] = {}

    def install(self) -> None:
        """Hold the doors."""
        cell = self._cell
        for name, nothing in (
            ("_send_request", lambda targets: make_reply(ReturnCode.INVALID_REQUEST)),
            ("_broadcast_request", lambda targets: {t: make_reply(ReturnCode.INVALID_REQUEST) for t in targets}),
            ("_fire_and_forget", lambda targets: dict.fromkeys(targets, ReturnCode.FILTER_ERROR)),
        ):
            setattr(cell, name, self._object_door(getattr(cell, name), nothing))
        cell.byte_streamer.send = self._stream_door(cell.byte_streamer.send)
        cell.core_cell._send_to_endpoint = self._frame_door(cell.core_cell._send_to_endpoint)
        cell.core_cell._process_request = self._arrival_door(cell.core_cell._process_request)
        DownloadService.add_object = self._offer_door(DownloadService.add_object)

    def say_refusals(self, logger: logging.Logger) -> None:
        """One line at the end of a run, where something was stopped."""
        if self.stopped:
            logger.warning(
                f"the gate stopped {sum(self.stopped.values())} messages: {dict(sorted(self.stopped.items()))}"
            )

    def _stop(self, error: ReleaseError, channel: str, size: int = 0) -> None:
        self.stopped[channel] = self.stopped.get(channel, 0) + 1
        self._refuse(error, channel, size)

    def _object_door(self, original: Callable[..., Any], nothing: Callable[[list[str]], Any]) -> Callable[..., Any]:
        def door(channel: str, topic: str, **rest: Any) -> Any:
            message: Message = rest.get("request") or rest["message"]
            targets = rest.get("targets") or rest.get("target") or []
            try:
                check(message.headers or {}, MESSAGE, "a message's headers")
                self._judge(channel, topic, message)
            except ReleaseError as error:
                self._stop(error, f"{channel}.{topic}")
                if not self._instead(error, channel, topic, message):
                    return nothing([targets] if isinstance(targets, str) else targets)
            message.set_header(_PASS, self._token)
            self._passing.now = True
            try:
                return original(channel=channel, topic=topic, **rest)
            finally:
                self._passing.now = False

        return door

    def _stream_door(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def door(
            channel: str, topic: str, target: str, headers: dict[str, Any], stream: Any, *args: Any, **kw: Any
        ) -> Any:
            try:
                if headers.pop(_PASS, None) != self._token:
                    self._judge_reply(channel, topic, headers, stream)
            except ReleaseError as error:
                self._stop(error, f"{channel}.{topic}", max(0, stream.get_size()))
                raise StreamError(str(error)) from None
            self._streams.add(stream)
            return original(channel, topic, target, headers, stream, *args, **kw)

        return door

    def _judge_reply(self, channel: str, topic: str, headers: dict[str, Any], stream: Any) -> None:
        if channel != REPLIES:
            raise ReleaseError("channel", "only task results leave this site; events, streams and messages do not")
        headers.pop(MessageHeaderKey.ERROR, None)  # the text of an exception
        check(headers, MESSAGE, "a reply's headers")
        if topic == ":".join(DOWNLOAD):
            return  # what is offered there was judged when it was offered
        self._judge_answer(_decoded(stream))

    def _frame_door(self, original: Callable[..., str]) -> Callable[..., str]:
        def door(to_endpoint: Any, message: Message) -> str:
            channel, topic = message.get_header(MessageHeaderKey.CHANNEL), message.get_header(MessageHeaderKey.TOPIC)
            try:
                self._judge_frame(channel, topic, message)
            except ReleaseError as error:
                self._stop(error, f"{channel}.{topic}", _size(message))
                return ReturnCode.FILTER_ERROR
            return original(to_endpoint, message)

        return door

    def _judge_frame(self, channel: object, topic: object, message: Message) -> None:
        for told in set(_ERRORS) & (message.headers or {}).keys():
            message.set_header(told, _REFUSED)
        if channel == STREAM_CHANNEL and topic == STREAM_DATA_TOPIC:
            sid = message.get_header(StreamHeaderKey.STREAM_ID)
            task = ByteStreamer.tx_task_map.get(sid)
            if task is not None and task.stream in self._streams:
                self._sids.add(sid)
            if sid in self._sids:
                return
        elif not message.payload and (
            (channel == STREAM_CHANNEL and topic in (STREAM_ACK_TOPIC, STREAM_ERROR_TOPIC))
            or channel in _QUIET
            or message.get_header(MessageHeaderKey.MSG_TYPE) == MessageType.REPLY
        ):
            check(_own_headers(message), FRAME, "a frame's headers")
            return
        elif self._parent and message.get_header(MessageHeaderKey.DESTINATION) == self._parent:
            check(_own_headers(message), FRAME, "a frame's headers")
            check_to_parent(channel, topic, message.payload)
            return
        raise ReleaseError("channel", "a frame must belong to a message that the gate let pass")

    def _arrival_door(self, original: Callable[..., Message | None]) -> Callable[..., Message | None]:
        def door(origin: str, message: Message) -> Message | None:
            channel, topic = message.get_header(MessageHeaderKey.CHANNEL), message.get_header(MessageHeaderKey.TOPIC)
            streamed = (channel, topic) == (STREAM_CHANNEL, STREAM_DATA_TOPIC)
            if streamed:
                channel, topic = message.get_header(StreamHeaderKey.CHANNEL), message.get_header(StreamHeaderKey.TOPIC)
            try:
                check_arrival(channel, topic, from_parent=origin == self._parent)
            except ReleaseError as error:
                self._stop(error, f"incoming.{channel}.{topic}", _size(message))
                if not streamed:
                    return make_reply(ReturnCode.INVALID_REQUEST, error=_REFUSED)
                self._cell.byte_receiver.reject(message, StreamError(_REFUSED))
                return None
            return original(origin, message)

        return door

    def _offer_door(self, original: Callable[..., Any]) -> Any:
        def door(*args: Any, **kw: Any) -> Any:
            if not getattr(self._passing, "now", False):
                error = ReleaseError("channel", "only tensors of a released result may be offered for download")
                self._stop(error, ".".join(DOWNLOAD))
                raise error
            return original(*args, **kw)

        return door


def _size(message: Message) -> int:
    """Bytes of a frame; a real site's goodbye to its own parent carries an object instead, of no known size."""
    return len(message.payload) if isinstance(message.payload, bytes | bytearray | memoryview) else 0


def _own_headers(message: Message) -> dict[str, Any]:
    """Without the route, and without what was put where the text of an exception stood."""
    left_out = (MessageHeaderKey.ROUTE, *_ERRORS)
    return {name: value for name, value in (message.headers or {}).items() if name not in left_out}


def _decoded(stream: Any) -> object:
    """What a blob's bytes say; unreadable ones are refused."""
    view = getattr(stream, "blob_view", b"?")
    if len(view) == 0:
        return None
    try:
        return fobs.loads(b"".join(bytes(part) for part in view))
    except Exception:
        raise ReleaseError("types", "a reply must be a plain Shareable") from None
