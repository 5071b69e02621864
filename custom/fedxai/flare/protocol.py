# SPDX-License-Identifier: Apache-2.0
"""FLARE's own messages without which no job runs at all; the gate lets no others leave or come in, and no content."""

from collections.abc import Mapping

from nvflare.apis.fl_constant import FLContextKey, ReservedKey, ReservedTopic, ReturnCode, ServerCommandNames
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.fuel.f3.cellnet.defs import CellChannel, CellChannelTopic
from nvflare.fuel.f3.streaming.download_service import (
    OBJ_DOWNLOADER_CHANNEL,
    OBJ_DOWNLOADER_TOPIC,
    SOURCE_FAILURE_TOPIC,
    DownloadStatus,
)
from nvflare.fuel.f3.streaming.stream_const import STREAM_ACK_TOPIC, STREAM_CHANNEL, STREAM_ERROR_TOPIC
from nvflare.private.admin_defs import Message as AdminMessage
from nvflare.private.defs import RequestHeader, TrainingTopic

from fedxai.errors import ReleaseError
from fedxai.privacy.envelope import Rule, check, exactly, flag, identifier, number, table, uuid

SUBMIT = (CellChannel.SERVER_COMMAND, ServerCommandNames.SUBMIT_UPDATE)
GET_TASK = (CellChannel.SERVER_COMMAND, ServerCommandNames.GET_TASK)
DOWNLOAD = (OBJ_DOWNLOADER_CHANNEL, OBJ_DOWNLOADER_TOPIC)
REPLIES = CellChannel.RETURN_ONLY
_AUX = CellChannel.AUX_COMMUNICATION
_TOPICS = (ReservedTopic.TASK_CHECK, ReservedTopic.SYNC_RUNNER, ReservedTopic.JOB_HEART_BEAT, ReservedTopic.END_RUN)
CODES = [value for name, value in vars(ReturnCode).items() if name.isupper()]
_STREAM = {"ai", "ch", "cs", "dt", "et", "id", "mp", "op", "os", "pe", "ri", "rs", "rt", "rw", "sq", "sz", "tp", "ws"}
_CELL = {
    "channel", "clear_payload_len", "conn_url", "destination", "encrypted", "from", "msg_root_id", "msg_root_ttl",
    "msg_type", "optional", "origin", "pass_through", "payload_encoding", "payload_len", "reply_expected", "req_id",
    "return_code", "secure", "send_time", "server_transit_required", "to", "topic",
}  # fmt: skip


def _scalar(value: object) -> bool:
    return flag(value) or number(value) or identifier(value)


MESSAGE: dict[str, Rule] = {
    "project_name": identifier,
    **{f"sm__{name}": _scalar for name in _STREAM},
    **{f"cn__{name}": _scalar for name in _CELL},
}
_AUTH = ("__token__", "__token_signature__", "client_name", "ssid")  # FLARE writes them over what stood there
FRAME: dict[str, Rule] = {
    **MESSAGE,
    **{name: lambda value: type(value) is str and len(value) <= 4096 for name in _AUTH},
}
_ARRIVALS = (  # what the server may send unasked: the end of the run, fetching what was offered, keeping lines up
    (_AUX, ReservedTopic.END_RUN),
    DOWNLOAD,
    (OBJ_DOWNLOADER_CHANNEL, SOURCE_FAILURE_TOPIC),
    (STREAM_CHANNEL, STREAM_ACK_TOPIC),
    (STREAM_CHANNEL, STREAM_ERROR_TOPIC),
    (CellChannel.CELLNET, CellChannelTopic.Bye),
)
_STATUS = [value for name, value in vars(DownloadStatus).items() if name.isupper()]
_ASK: dict[str, Rule] = {
    "ref_id": uuid,
    "confirm_capable": flag,
    "cancel": flag,
    "state": table({"start": number, "count": number}),
    "confirm": exactly(*_STATUS),
    "confirm_nonce": uuid,
}


def context_rules(site: str, job: str) -> dict[str, Rule]:
    """The public properties of FLARE's context: who and where, nothing that a component put beside them."""
    return {
        ReservedKey.RUN_NUM: exactly(job),
        ReservedKey.IDENTITY_NAME: exactly(site),
        ReservedKey.FQSN: exactly(site),
        ReservedKey.IS_LEAF: flag,
        FLContextKey.CLIENT_NAME: exactly(site),
        FLContextKey.CURRENT_JOB_ID: exactly(job),
    }


def check_chatter(
    channel: str, topic: str, payload: object, *, context: Mapping[str, Rule], tasks: Mapping[str, object]
) -> None:
    """Let only FLARE's own messages without content pass: asking for tasks, saying that the site lives, fetching.

    Args:
        channel: where it goes.
        topic: likewise.
        payload: what it carries.
        context: rules of the public context.
        tasks: the tasks that the server gave this site, by id.

    Raises:
        ReleaseError: for every other channel, topic, header or content.
    """
    if (channel, topic) == DOWNLOAD:
        check(payload, _ASK, "a request for tensors")
        return
    if (channel, topic) != GET_TASK and not (channel == _AUX and topic in _TOPICS):
        raise ReleaseError("channel", "only task results leave this site; events, streams and messages do not")
    rules: dict[str, Rule] = {
        ReservedHeaderKey.TOPIC: exactly(topic),
        ReservedHeaderKey.RC: exactly(*CODES),
        ReservedHeaderKey.TASK_ID: exactly(*tasks),
        "last_task_id": exactly(*tasks),
        ReservedHeaderKey.PEER_PROPS: table(context),
        ReservedHeaderKey.PEER_CTX: peer_context(context),
    }
    check_shareable(payload, rules, content=())


def check_arrival(channel: object, topic: object, *, from_parent: bool) -> None:
    """Let only replies come in, FLARE's own messages that ask for nothing, and commands of the site's own client.

    Raises:
        ReleaseError: for everything else, a task among it that the site did not ask for.
    """
    if channel == REPLIES or (channel, topic) in _ARRIVALS or (from_parent and channel == CellChannel.CLIENT_COMMAND):
        return
    raise ReleaseError(
        "channel", "only tasks come in, when this site asks for one; events, streams and messages do not"
    )


def check_reply(payload: object, context: Mapping[str, Rule]) -> None:
    """A site's reply to a message of the server says whether it was understood and who says so, and nothing else.

    Raises:
        ReleaseError: when it does.
    """
    if payload is not None:
        rules: dict[str, Rule] = {
            ReservedHeaderKey.RC: exactly(*CODES),
            ReservedHeaderKey.PEER_CTX: peer_context(context),
        }
        check_shareable(payload, rules, content=())


def check_to_parent(channel: object, topic: object, payload: object) -> None:
    """What a job process tells the site's own FLARE client: that the job started or ended, and what it is at.

    Raises:
        ReleaseError: for anything else; the client passes on to the console what it is told.
    """
    if channel == CellChannel.CLIENT_COMMAND and (payload is None or _words(payload)):
        return
    told = payload if isinstance(payload, AdminMessage) and topic == TrainingTopic.NOTIFY_JOB_STATUS else None
    if channel != CellChannel.CLIENT_MAIN or told is None or told.body or told.topic != topic:
        raise ReleaseError("channel", "a job tells its site's client only that it started or ended")
    check(told.headers, {RequestHeader.JOB_ID: identifier, RequestHeader.JOB_STATUS: _scalar}, "a job's status")


def _words(text: object) -> bool:
    return type(text) is str and len(text) <= 64 and text.replace(" ", "").isalpha() and text.isascii()


def check_shareable(payload: object, rules: Mapping[str, Rule], *, content: tuple[str, ...]) -> None:
    """A plain Shareable whose headers keep to ``rules`` and which holds nothing but ``content`` beside them.

    Raises:
        ReleaseError: when it does not.
    """
    if type(payload) is not Shareable:
        raise ReleaseError("types", "a message must be a plain Shareable")
    if payload.keys() - {ReservedHeaderKey.HEADERS, *content}:
        raise ReleaseError("content", "a message may hold nothing but its data exchange object")
    check(payload.get(ReservedHeaderKey.HEADERS, {}), rules, "headers")


def vetted_context(found: object, rules: Mapping[str, Rule]) -> FLContext:
    """A fresh context with those public properties of ``found`` that keep to ``rules``."""
    public = found.get_all_public_props() if isinstance(found, FLContext) else {}
    context = FLContext()
    for name, rule in rules.items():
        if name in public and rule(public[name]):
            context.set_prop(name, public[name], private=False, sticky=False)
    return context


def peer_context(rules: Mapping[str, Rule]) -> Rule:
    """A context with no other public properties than those of ``rules``."""
    return lambda value: type(value) is FLContext and table(rules)(value.get_all_public_props())


def result_rules(
    *, context: Mapping[str, Rule], tasks: Mapping[str, object], task: str, extra: Mapping[str, Rule]
) -> dict[str, Rule]:
    """Headers of a task's result as FLARE has completed them."""
    return {
        ReservedHeaderKey.CONTENT_TYPE: exactly("DXO"),
        ReservedHeaderKey.RC: exactly(*CODES),
        ReservedHeaderKey.AUDIT_EVENT_ID: uuid,
        ReservedHeaderKey.TASK_NAME: exactly(task),
        FLContextKey.TASK_NAME: exactly(task),
        ReservedHeaderKey.TASK_ID: exactly(*tasks),
        ReservedHeaderKey.MSG_ROOT_ID: uuid,
        ReservedHeaderKey.PEER_CTX: peer_context(context),
        **extra,
    }
