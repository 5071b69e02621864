# SPDX-License-Identifier: Apache-2.0
"""FLARE's own messages pass the gate, and nothing that a component hides in them."""

import pytest
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.private.admin_defs import Message as AdminMessage
from nvflare.private.defs import TrainingTopic
from nvflare.private.fed.client.client_status import ClientStatus

from fedxai.errors import ReleaseError
from fedxai.flare.protocol import (
    DOWNLOAD,
    GET_TASK,
    check_chatter,
    check_reply,
    check_to_parent,
    context_rules,
    vetted_context,
)

TASK_ID = "e57bd7ba-cfe2-463f-b8fa-42395f694910"
CONTEXT = context_rules("site-1", "job")
PROPS = {"__identity_name__": "site-1", "__run_num__": "job", "__is_leaf__": True}


def passes(channel: str, topic: str, payload: object) -> None:
    check_chatter(channel, topic, payload, context=CONTEXT, tasks={TASK_ID: None})


def message(**headers: object) -> Shareable:
    shareable = Shareable()
    for name, value in headers.items():
        shareable.set_header(name, value)
    return shareable


def test_what_flare_needs_to_run_a_job_passes():
    passes("aux_communication", "__task_check__", message(__task_id__=TASK_ID, __peer_props__=PROPS))
    passes("aux_communication", "__job_heartbeat__", message(__topic__="__job_heartbeat__", __peer_props__=PROPS))
    passes(*GET_TASK, message(last_task_id=TASK_ID))
    passes(*DOWNLOAD, {"ref_id": TASK_ID, "confirm_capable": True, "state": {"start": 0, "count": 4}})
    check_reply(message(__rc__="OK"), CONTEXT)
    check_reply(None, CONTEXT)


@pytest.mark.parametrize(
    ("channel", "topic", "payload"),
    [
        ("aux_communication", "fed.event", message()),
        ("aux_communication", "ObjectStreamer.Request", message()),
        ("metrics", "metrics", message()),
        ("log_streaming", "live", message()),
        (None, None, None),
        ("aux_communication", "__task_check__", message(__peer_props__={**PROPS, "patient": "DOE^JANE"})),
        ("aux_communication", "__task_check__", message(__peer_props__={**PROPS, "__identity_name__": "DOE^JANE"})),
        ("aux_communication", "__task_check__", message(pixels=b"\x00" * 64)),
        ("aux_communication", "__task_check__", message(__task_id__="DOE^JANE")),
        ("aux_communication", "__job_heartbeat__", Shareable({"pixels": b"\x00" * 64})),
        ("aux_communication", "__job_heartbeat__", {"pixels": b"\x00" * 64}),
        (*DOWNLOAD, {"ref_id": "DOE^JANE"}),
        (*DOWNLOAD, {"ref_id": TASK_ID, "state": {"pixels": 1}}),
        (*DOWNLOAD, {"ref_id": TASK_ID, "confirm": "DOE^JANE"}),
    ],
)
def test_everything_else_is_refused(channel, topic, payload):
    with pytest.raises(ReleaseError) as refused:
        passes(channel, topic, payload)
    assert "DOE" not in str(refused.value)


@pytest.mark.parametrize(
    "payload", [Shareable({"x": 1}), message(pixels=1), message(__rc__="DOE^JANE"), {"x": 1}, b"x"]
)
def test_a_reply_says_only_that_it_was_understood(payload):
    with pytest.raises(ReleaseError):
        check_reply(payload, CONTEXT)


def test_a_public_property_of_a_component_does_not_travel():
    context = FLContext()
    for name, value in {**PROPS, "patient": "DOE^JANE"}.items():
        context.set_prop(name, value, private=False, sticky=False)
    with pytest.raises(ReleaseError):
        passes(*GET_TASK, message(__peer_ctx__=context))
    assert vetted_context(context, CONTEXT).get_all_public_props() == PROPS


def status(body: str = "", **headers: object) -> AdminMessage:
    told = AdminMessage(topic=TrainingTopic.NOTIFY_JOB_STATUS, body=body)
    told.headers.update({"job_id": "e57b", **headers})
    return told


def test_a_job_tells_its_sites_client_that_it_started_and_nothing_more():
    check_to_parent("admin", TrainingTopic.NOTIFY_JOB_STATUS, status(job_status=ClientStatus.STOPPED))
    check_to_parent("client_command", "abort", None)
    check_to_parent("client_command", "check_status", "training started")
    for channel, topic, payload in (
        ("admin", TrainingTopic.NOTIFY_JOB_STATUS, status("DOE^JANE")),
        ("admin", TrainingTopic.NOTIFY_JOB_STATUS, status(job_status="DOE JANE")),
        ("admin", TrainingTopic.NOTIFY_JOB_STATUS, status(patient="x")),
        ("admin", "other", status()),
        ("client_command", "show_stats", {"pixels": [1, 2]}),
        ("client_command", "show_errors", "case 0001 of DOE^JANE"),
    ):
        with pytest.raises(ReleaseError):
            check_to_parent(channel, topic, payload)
