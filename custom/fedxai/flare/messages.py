# SPDX-License-Identifier: Apache-2.0
"""What travels between server and sites: model tensors, typed summaries, and one-sentence refusals."""

from collections.abc import Mapping
from typing import TypeVar

from numpy.typing import NDArray
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.app_constant import AppConstants
from pydantic import ValidationError

from fedxai.errors import CohortError, FedxaiError, UpdateError
from fedxai.records import Record, SiteRound

REASON = "fedxai_reason"
SITE_ROUND = "fedxai_site_round"
ROLE = "fedxai_role"  # which model an explain task is about: round, last or best

R = TypeVar("R", bound=Record)


def weights_message(weights: Mapping[str, NDArray], *, round_: int, **headers: str) -> Shareable:
    """Global weights for a ``validate`` or ``explain`` task; ``headers`` say which model it is."""
    message = DXO(DataKind.WEIGHTS, data=dict(weights)).to_shareable()
    message.set_header(AppConstants.CURRENT_ROUND, round_)
    for name, value in headers.items():
        message.set_header(name, value)
    return message


def update_message(difference: Mapping[str, NDArray], report: SiteRound, *, cases: int) -> Shareable:
    """A site's update: the weight difference, n_k, and its figures in the place where FLARE's selector looks."""
    initial = {name: figure.value for name, figure in report.validation.items() if figure.value is not None}
    meta = {
        MetaKey.NUM_STEPS_CURRENT_ROUND: cases,
        MetaKey.INITIAL_METRICS: initial,
        SITE_ROUND: report.model_dump(mode="json"),
    }
    return DXO(DataKind.WEIGHT_DIFF, data=dict(difference), meta=meta).to_shareable()


def summary_message(record: Record) -> Shareable:
    """A typed summary."""
    return DXO(DataKind.METRICS, data=record.model_dump(mode="json")).to_shareable()


def read_summary(message: Shareable, kind: type[R]) -> R:
    """The typed summary in a message.

    Raises:
        UpdateError: when the message holds none, or one that breaks its schema.
    """
    return _read(kind, read_dxo(message).data)


def read_site_round(message: Shareable) -> SiteRound:
    """The site's figures that travel with its update.

    Raises:
        UpdateError: when they are missing or break their schema.
    """
    return _read(SiteRound, read_dxo(message).get_meta_prop(SITE_ROUND))


def read_dxo(message: Shareable) -> DXO:
    """The message's data exchange object.

    Raises:
        UpdateError: when it has none.
    """
    try:
        return from_shareable(message)
    except (ValueError, TypeError, KeyError) as error:
        raise UpdateError("the message holds no data exchange object") from error


def refusal(error: Exception) -> Shareable:
    """A reply that says in one sentence why there is no answer.

    A sentence about a cohort can name its files, so it stays in the site's log and only its kind is sent.
    """
    if isinstance(error, CohortError):
        reason = "CohortError: the site's cohort cannot be used; its log says why"
    elif isinstance(error, FedxaiError):
        reason = f"{type(error).__name__}: {error}"
    else:
        reason = f"{type(error).__name__}: the site's log says why"
    reply = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    reply.set_header(REASON, reason[:300])
    return reply


def reason_of(message: Shareable) -> str | None:
    """Why a site gave no usable answer, or None when it did."""
    code = message.get_return_code()
    if not code or code == ReturnCode.OK:
        return None
    return str(message.get_header(REASON) or f"the site answered {code}")[:300]


def _read(kind: type[R], values: object) -> R:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UpdateError(f"the summary breaks the schema of {kind.__name__}") from error
