# SPDX-License-Identifier: Apache-2.0
"""What a ledger says of a message, at the site that sends it and at the server that gets it: the same words."""

import hashlib
import sys
from dataclasses import dataclass
from typing import cast

from nvflare.apis.dxo import DataKind
from nvflare.apis.shareable import Shareable
from nvflare.app_common.decomposers.numpy_decomposers import NumpyArrayDecomposer
from nvflare.fuel.utils import fobs
from pydantic import ValidationError

from fedxai.errors import ReleaseError, UpdateError
from fedxai.flare.messages import SITE_ROUND, read_dxo, reason_of
from fedxai.privacy.case_records import case_records
from fedxai.privacy.chain import Head
from fedxai.privacy.ledger import Ledger

HEAD = "fedxai_ledger_head"  # header of a task or a reply: where the sender's ledger stood when it was sent
KINDS = {
    "train": "update",
    "submit_model": "update",
    "validate": "evaluation",
    "explain": "explanation",
    "survey": "survey",
    "statistics": "statistics",
}
REFUSAL = "refusal"  # a reply that says in one sentence why there is no answer
CHANNEL = "task"


@dataclass(frozen=True, kw_only=True)
class Payload:
    """What a reply carries: its kind, its bytes as FLARE serialises them, their SHA-256, and the cases told singly."""

    kind: str
    size: int
    digest: str
    case_records: int = 0


def payload_of(message: Shareable, task: str) -> Payload:
    """What ``message``, the answer to ``task``, carries: its data exchange object, or a refusal's sentence."""
    fobs.register(NumpyArrayDecomposer)
    reason = reason_of(message)
    content = _serialised(message) if reason is None else reason.encode()
    kind = KINDS.get(task, task) if reason is None else REFUSAL
    return Payload(
        kind=kind,
        size=len(content),
        digest=hashlib.sha256(content).hexdigest(),
        case_records=case_records(_summary(message)) if reason is None else 0,
    )


def _summary(message: Shareable) -> object:
    """The figures that a reply holds, as they travel."""
    dxo = read_dxo(message)
    return dxo.data if dxo.data_kind == DataKind.METRICS else dxo.get_meta_prop(SITE_ROUND)


def _serialised(message: Shareable) -> bytes:
    """The data exchange object as FLARE writes it, but all in one piece.

    A tensor of more than 10 MB FLARE sets apart under an identifier drawn anew each time, and no two digests would be
    the same.
    """
    return cast("bytes", fobs.dumps(read_dxo(message), max_value_size=sys.maxsize))


def set_head(message: Shareable, head: Head) -> Shareable:
    """The message with the place of the sender's ledger in its header, which whoever gets it keeps."""
    message.set_header(HEAD, head.model_dump())
    return message


def head_of(message: Shareable) -> Head | None:
    """Where the sender's ledger stood, or None when the message does not say.

    Raises:
        UpdateError: when what it says is no head.
    """
    values = message.get_header(HEAD)
    if values is None:
        return None
    try:
        return Head.model_validate(values)
    except ValidationError as error:
        raise UpdateError("the header with the place of the sender's ledger breaks its schema") from error


def record_arrival(
    ledger: Ledger,
    message: Shareable,
    *,
    site: str,
    task: str,
    round_: int,
    job: str,
    refused: ReleaseError | None = None,
) -> Payload:
    """Enter a site's answer into the server's ledger, with the place of the site's own; what can't be read as refused.

    Args:
        ledger: the server's.
        message: the answer.
        site: who answers.
        task: what was asked.
        round_: in which round.
        job: of which job.
        refused: why the answer is not taken, if it is not.

    Raises:
        LedgerError: when it cannot be written.
    """
    where = {"task": task, "channel": CHANNEL, "job": job, "round_": round_, "site": site}
    try:
        payload, head = payload_of(message, task), head_of(message)
    except (UpdateError, RuntimeError, TypeError, ValueError, AttributeError):  # whatever a hostile site made of it
        payload = Payload(kind="unreadable", size=0, digest="")
        ledger.record(kind=payload.kind, size=0, decision="refused", reason="unreadable", **where)
        return payload
    ledger.record(
        kind=payload.kind,
        size=payload.size,
        digest=payload.digest,
        decision="refused" if refused else "received",
        reason=refused.rule if refused else None,
        case_records=payload.case_records,
        head=head,
        **where,
    )
    return payload
