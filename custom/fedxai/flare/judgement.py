# SPDX-License-Identifier: Apache-2.0
# FLARE's attributes and headers are typed as None until the job starts.
# pyright: reportOptionalMemberAccess=false, reportArgumentType=false
"""What a task may bring and what its answer may hold: judged by the typed schema, and rebuilt from what was known."""

from typing import Any, cast

from numpy.typing import NDArray
from nvflare.apis.dxo import MetaKey
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import ReservedHeaderKey, Shareable, make_reply
from nvflare.app_common.app_constant import AppConstants

from fedxai.errors import FedxaiError, ReleaseError, UpdateError
from fedxai.flare.facts import facts, vocabulary
from fedxai.flare.messages import REASON, ROLE, SITE_ROUND, read_dxo, summary_message, update_message
from fedxai.flare.protocol import CODES, check_shareable
from fedxai.flare.site import Site
from fedxai.flare.witness import HEAD, head_of
from fedxai.privacy.chain import Head
from fedxai.privacy.envelope import exactly, number
from fedxai.privacy.schema import recognised
from fedxai.privacy.sentence import SILENT, released_sentence
from fedxai.privacy.tensors import check_norm, rebuilt_tensors
from fedxai.records import Evaluations, Explanation, Record, SiteRound, Survey
from fedxai.records_statistics import SiteStatistics

KINDS: dict[str, type[Record]] = {
    "survey": Survey,
    "statistics": SiteStatistics,
    "validate": Evaluations,
    "explain": Explanation,
}
_BARE = ("survey", "statistics")  # tasks that bring no weights
META = {MetaKey.NUM_STEPS_CURRENT_ROUND, MetaKey.INITIAL_METRICS, SITE_ROUND}
_ROUNDS = (AppConstants.CURRENT_ROUND, AppConstants.NUM_ROUNDS)
_ROLES = ("round", "last", "best", None)


class Judgement:
    """Judges one job's messages of one site.

    Args:
        site: whose words, counts, tensors and policy hold.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._policy = site.settings.policy
        self._weights: dict[str, NDArray] = {}  # of the task at hand
        self._answers = 0

    @staticmethod
    def head(data: Shareable) -> Head | None:
        """Where the server's ledger stood when it sent the task; None where it does not say.

        Raises:
            ReleaseError: when what it says is no place in a ledger.
        """
        try:
            return head_of(data)
        except UpdateError:
            raise ReleaseError("headers", "the place of the server's ledger must be a count and a hash") from None

    def task(self, data: Shareable, name: str) -> Shareable:
        """The server's task, rebuilt: its weights, and the headers that an executor or the gate reads.

        Raises:
            ReleaseError: when the site does not answer it, or it holds anything but weights of the network.
        """
        if name not in self._policy.tasks:
            raise ReleaseError("task", f"this site answers {', '.join(self._policy.tasks)} (policy.tasks)")
        if data.keys() - {ReservedHeaderKey.HEADERS, "DXO"} or (name in _BARE and "DXO" in data):
            raise ReleaseError("content", "a task may hold nothing but its weights")
        if not all(number(data.get_header(key)) for key in _ROUNDS) or data.get_header(ROLE) not in _ROLES:
            raise ReleaseError("headers", "a task's round and role must be numbers and known words")
        task = Shareable()
        for key in (*_ROUNDS, ROLE, HEAD, ReservedHeaderKey.COOKIE_JAR):
            if (value := data.get_header(key)) is not None:
                task.set_header(key, value)
        if name in _BARE:
            return task
        dxo = _dxo(data)
        if dxo.data_kind != "WEIGHTS":
            raise ReleaseError("content", "a task may hold nothing but its weights")
        self._weights = rebuilt_tensors(dict(dxo.data), self._site.trainer.weights(), what="global weights")
        dxo.data = self._weights
        return dxo.update_shareable(task)

    def result(self, result: Shareable, name: str) -> Shareable:
        """The answer to a task, rebuilt from what was recognised.

        Raises:
            ReleaseError: when it holds anything else.
        """
        self._answers += 1
        if name not in self._policy.tasks or self._answers > self._policy.answers:
            raise ReleaseError("task", "the policy of the site lets no such answer out (policy.tasks, policy.answers)")
        check_shareable(result, {ReservedHeaderKey.CONTENT_TYPE: exactly("DXO")}, content=("DXO",))
        if type(result.get("DXO")) is not dict or set(result["DXO"]) != {"kind", "data", "meta"}:
            raise ReleaseError("content", "a data exchange object must hold kind, data and meta")
        dxo = _dxo(result)
        if name == "train":
            return self._update(dxo.data_kind, dxo.data, dxo.meta)
        if dxo.data_kind != "METRICS" or dxo.meta:
            raise ReleaseError("content", "a summary must be METRICS without meta")
        return summary_message(self._summary(dxo.data, KINDS[name]))

    def _update(self, kind: object, data: object, meta: Any) -> Shareable:
        if kind != "WEIGHT_DIFF" or not self._weights:
            raise ReleaseError("content", "an update must be a weight difference to the weights of its task")
        if type(meta) is not dict or set(meta) != META:
            raise ReleaseError("content", "the meta of an update must be its cases and the figures of its round")
        expected = {name: tensor for name, tensor in self._weights.items() if tensor.dtype.kind == "f"}
        tensors = rebuilt_tensors(data, expected, what="update")
        check_norm(tensors, self._weights, self._policy.update_norm)
        report = cast(SiteRound, self._summary(meta[SITE_ROUND], SiteRound))
        reply = update_message(tensors, report, cases=self._site.trainer.training_cases)
        rebuilt = read_dxo(reply).meta
        for name in (MetaKey.NUM_STEPS_CURRENT_ROUND, MetaKey.INITIAL_METRICS):
            if not exactly(rebuilt[name])(meta[name]):
                raise ReleaseError("counts", "the cases and metrics of an update must be those of its round's figures")
        return reply

    def _summary(self, values: object, kind: type[Record]) -> Record:
        words = vocabulary(self._site.bundle)
        return recognised(values, kind, words=words, facts=facts(self._site), policy=self._policy)


def rebuilt_refusal(found: Shareable) -> tuple[Shareable, bool]:
    """A refusal with its code and its own sentence, as far as that is made of known words; whether more was in it."""
    headers = found.get(ReservedHeaderKey.HEADERS, {})
    code, text = found.get_return_code(), found.get_header(REASON)
    reply = make_reply(code if code in CODES else ReturnCode.EXECUTION_EXCEPTION)
    more = bool(found.keys() - {ReservedHeaderKey.HEADERS}) or bool(headers.keys() - {ReservedHeaderKey.RC, REASON})
    if text is None:
        return reply, more or code not in CODES
    sentence = released_sentence(text)
    reply.set_header(REASON, sentence)
    return reply, more or code not in CODES or (SILENT in sentence and SILENT not in str(text))


def _dxo(message: Shareable) -> Any:
    try:
        return read_dxo(message)
    except FedxaiError:
        raise ReleaseError("content", "a message must hold a data exchange object") from None
