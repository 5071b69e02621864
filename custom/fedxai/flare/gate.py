# SPDX-License-Identifier: Apache-2.0
# FLARE's attributes and headers are typed as None until the job starts.
# pyright: reportOptionalMemberAccess=false, reportArgumentType=false
"""The gate: what is on its list is rebuilt, recorded and sent; everything else is refused, recorded and said so."""

import copy
import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from weakref import WeakKeyDictionary

from nvflare.apis.event_type import EventType
from nvflare.apis.filter import Filter
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.app_common.app_constant import AppConstants
from nvflare.fuel.f3.message import Message

from fedxai.errors import LedgerError, ReleaseError
from fedxai.flare.crossing import Crossing
from fedxai.flare.judgement import Judgement, rebuilt_refusal
from fedxai.flare.messages import REASON, reason_of, refusal
from fedxai.flare.protocol import (
    SUBMIT,
    check_chatter,
    check_reply,
    check_shareable,
    context_rules,
    result_rules,
    vetted_context,
)
from fedxai.flare.site import Site
from fedxai.flare.witness import CHANNEL, HEAD, payload_of, set_head
from fedxai.privacy.chain import Head
from fedxai.privacy.envelope import Rule, check, exactly

_GATES: "WeakKeyDictionary[object, Gate]" = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A task as the server gave it."""

    name: str
    round: int
    cookies: object
    head: Head | None = None  # where the server's ledger stood


class Gate(FLComponent):
    """Stands in a site's job process, on both directions of every channel.

    Results are judged by the typed schema (`fedxai.privacy.schema`, `fedxai.privacy.tensors`) and what leaves is
    rebuilt from what was recognised; the cell's own doors (`fedxai.flare.crossing`) let nothing else through.

    Args:
        site: id of the `fedxai.flare.site.Site` in the job; without one everything is refused.
    """

    def __init__(self, site: str = "site") -> None:
        super().__init__()
        self._site_id = site
        self._site: Site | None = None
        self._job = ""
        self._tasks: dict[str, _Task] = {}
        self._answered: dict[str, tuple[str, object]] = {}  # task id -> digest and head of what may leave for it
        self._crossing: Crossing | None = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Close the doors before the job's first message."""
        if event_type == EventType.START_RUN:
            gate_of(fl_ctx, self)
        elif event_type == EventType.END_RUN and self._crossing is not None:
            self._crossing.say_refusals(self.logger)

    def close(self, fl_ctx: FLContext) -> None:
        """Learn where the gate stands, and hold the cell's doors."""
        cell = fl_ctx.get_engine().get_cell()
        self._crossing = Crossing(
            cell, judge=self.judge, judge_reply=self.judge_reply, refuse=self.refused, instead=self.instead
        )
        self._crossing.install()  # first of all: where the rest fails, nothing passes
        component = fl_ctx.get_engine().get_component(self._site_id)
        if not isinstance(component, Site):
            raise ReleaseError("site", f"component {self._site_id!r} of the job must be a Site; nothing leaves without")
        self._site, self._job = component.enter(fl_ctx), fl_ctx.get_job_id()

    @property
    def site(self) -> Site:
        """The site whose wall this is."""
        if self._site is None:
            raise ReleaseError("site", "the gate is not closed yet, so nothing passes")
        return self._site

    @cached_property
    def _judgement(self) -> Judgement:
        return Judgement(self.site)

    def incoming(self, data: Shareable, fl_ctx: FLContext) -> Shareable:
        """A task of the server, with its weights rebuilt.

        Raises:
            ReleaseError: when it holds anything but what such a task holds; FLARE then answers that the filter refused.
        """
        name, task_id = str(fl_ctx.get_prop(FLContextKey.TASK_NAME)), str(fl_ctx.get_prop(FLContextKey.TASK_ID))
        round_ = data.get_header(AppConstants.CURRENT_ROUND)
        jar = copy.deepcopy(data.get_cookie_jar())
        self._tasks[task_id] = task = _Task(name=name, round=round_ if type(round_) is int else 0, cookies=jar)
        try:
            self._tasks[task_id] = replace(task, head=self._judgement.head(data))
            return self._judgement.task(data, name)
        except ReleaseError as error:
            self.refused(error, CHANNEL, 0, task=self._tasks[task_id])
            raise

    def outgoing(self, result: Shareable, fl_ctx: FLContext) -> Shareable:
        """What leaves as the answer to a task: rebuilt and on the ledger, or a refusal in its place."""
        task_id = str(fl_ctx.get_prop(FLContextKey.TASK_ID))
        task = self._tasks.get(task_id) or _Task(
            name=str(fl_ctx.get_prop(FLContextKey.TASK_NAME)), round=0, cookies=None
        )
        if result.get_header(HEAD) is not None and self._passed(result, task_id, task.name):
            return result
        try:
            check(fl_ctx.get_all_public_props(), context_rules(self.site.name, self._job), "public properties")
            if reason_of(result) is None:
                reply = self._judgement.result(result, task.name)
            else:
                reply, cut = rebuilt_refusal(result)
                if cut:
                    self.refused(ReleaseError("sentence", "a refusal may hold known words only"), CHANNEL, 0, task=task)
        except ReleaseError as error:
            self.refused(error, CHANNEL, _size(result, task.name), task=task)
            reply = refusal(error)
        try:
            return self._recorded(reply, task_id, task)
        except LedgerError as error:
            return refusal(error)  # not on the ledger, so the crossing will not let it out either

    def judge(self, channel: str, topic: str, message: Message) -> None:
        """Whether a message may leave the process; a result must be the one that was recorded.

        Raises:
            ReleaseError: when it may not.
        """
        context = context_rules(self.site.name, self._job)
        if (channel, topic) != SUBMIT:
            check_chatter(channel, topic, message.payload, context=context, tasks=self._tasks)
            return
        payload = message.payload
        task_id = payload.get_header(ReservedHeaderKey.TASK_ID) if type(payload) is Shareable else None
        task = self._tasks.get(str(task_id))
        if task is None:
            raise ReleaseError("task", "a result must answer a task that the server gave")
        _, head = self._answered.get(str(task_id), ("", None))
        extra: dict[str, Rule] = {
            HEAD: exactly(head),
            REASON: lambda text: text is None or type(text) is str,  # held to the ledger's digest below
            ReservedHeaderKey.COOKIE_JAR: exactly(task.cookies),
        }
        rules = result_rules(context=context, tasks=self._tasks, task=task.name, extra=extra)
        content = () if reason_of(payload) else ("DXO",)
        check_shareable(payload, rules, content=content)
        if reason_of(payload) and payload.get_header(REASON) is None:
            return  # one of FLARE's own codes and nothing else
        if not self._passed(payload, str(task_id), task.name):
            raise ReleaseError("changed", "a result must be the one that the gate recorded")

    def judge_reply(self, payload: object) -> None:
        """Whether a reply may leave the process.

        Raises:
            ReleaseError: when it may not.
        """
        check_reply(payload, context_rules(self.site.name, self._job))

    def instead(self, error: ReleaseError, channel: str, topic: str, message: Message) -> bool:
        """Turn a stopped result into a refusal, so that the server does not wait for it; nothing of it is kept."""
        found = message.payload
        task_id = found.get_header(ReservedHeaderKey.TASK_ID) if isinstance(found, Shareable) else None
        task = self._tasks.get(task_id) if type(task_id) is str else None
        if (channel, topic) != SUBMIT or task is None:
            return False
        reply = self._recorded(refusal(error), task_id, task)
        context = context_rules(self.site.name, self._job)
        reply.set_header(
            ReservedHeaderKey.PEER_CTX, vetted_context(found.get_header(ReservedHeaderKey.PEER_CTX), context)
        )
        reply.set_header(ReservedHeaderKey.TASK_NAME, task.name)
        reply.set_header(ReservedHeaderKey.TASK_ID, task_id)
        if task.cookies is not None:
            reply.set_cookie_jar(task.cookies)
        message.payload = reply
        message.headers = {}
        return True

    def refused(self, error: ReleaseError, channel: str, size: int, *, task: _Task | None = None) -> None:
        """Put on the ledger what was stopped; content never."""
        self.logger.warning(f"refused on {channel}: {error}")
        self.site.ledger.record(
            kind="refused",
            job=self._job,
            round_=task.round if task else None,
            task=task.name if task else None,
            channel=channel,
            size=size,
            decision="refused",
            reason=error.rule,
            policy=self._policy_digest,
        )

    @property
    def _policy_digest(self) -> str:
        return hashlib.sha256(
            self.site.settings.model_dump_json(include={"policy", "minimum_cell"}).encode()
        ).hexdigest()

    def _recorded(self, reply: Shareable, task_id: str, task: _Task) -> Shareable:
        payload = payload_of(reply, task.name)
        head = self.site.ledger.record(
            kind=payload.kind,
            job=self._job,
            round_=task.round,
            task=task.name,
            channel=CHANNEL,
            size=payload.size,
            digest=payload.digest,
            policy=self._policy_digest,
            case_records=payload.case_records,
            head=task.head,
        )
        self._answered[task_id] = (payload.digest, head.model_dump())
        return set_head(reply, head)

    def _passed(self, result: Shareable, task_id: str, task: str) -> bool:
        return payload_of(result, task).digest == self._answered.get(task_id, ("", None))[0]


def gate_of(fl_ctx: FLContext, component: Gate | None = None) -> Gate:
    """The one gate of this job process, closed when it is asked for first."""
    engine = fl_ctx.get_engine()
    if engine not in _GATES:
        gate = component or Gate()
        gate.close(fl_ctx)
        _GATES[engine] = gate
    return _GATES[engine]


class IncomingGate(Filter):
    """FLARE's filter on task data: what the server sends to the site."""

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """See `Gate.incoming`."""
        return gate_of(fl_ctx).incoming(shareable, fl_ctx)


class OutgoingGate(Filter):
    """FLARE's filter on task results: what the site sends to the server."""

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """See `Gate.outgoing`; never None, which FLARE takes for "send it as it was"."""
        return gate_of(fl_ctx).outgoing(shareable, fl_ctx)


def _size(result: Shareable, task: str) -> int:
    """Bytes of what was stopped, as far as it can be serialised at all."""
    try:
        return payload_of(result, task).size
    except Exception:
        return 0
