# SPDX-License-Identifier: Apache-2.0
"""How many requests are in flight: beyond the bounds the answer is 503 at once, before a body is read."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedxai.label.refusals import say
from fedxai.label.settings import Bounds

_KINDS = (
    ("prediction", "POST", re.compile(r"/infer/")),
    ("upload", "PUT", re.compile(r"/")),
)


class InFlight:
    """Admits requests within bounds and waits for a body no longer than it is patient.

    Args:
        app: what is asked within the bounds.
        bounds: the bounds.
    """

    def __init__(self, app: ASGIApp, bounds: Bounds) -> None:
        self._app = app
        self._patience = bounds.patience
        self._most = {
            "request": bounds.requests,
            "prediction": bounds.workers + bounds.waiting,
            "upload": bounds.uploads,
        }
        self._now: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it with 503 and when to ask again."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        with self._admitted(scope) as full:
            if full:
                sentence = f"The server has as many {full}s in flight as it takes; ask again in a few seconds."
                return await say(503, sentence, {"Retry-After": "5"})(scope, receive, send)
            patient = _Patient(receive, self._patience)
            try:
                await self._app(scope, patient, send)
            except TimeoutError:
                if not patient.gave_up:
                    raise
                await say(408, "The request's body did not come in time.", {"Connection": "close"})(
                    scope, receive, send
                )

    @contextmanager
    def _admitted(self, scope: Scope) -> Iterator[str]:
        """Counts the request while it runs; yields the bound that it breaks, or nothing."""
        kinds = ["request", *(kind for kind, method, path in _KINDS if _is(scope, method, path))]
        full = next((kind for kind in kinds if self._now[kind] >= self._most[kind]), "")
        if not full:
            self._now.update(kinds)
        try:
            yield full
        finally:
            if not full:
                self._now.subtract(kinds)


class _Patient:
    """Receives a body's pieces, each within a time; then waits as long as it takes for the caller to go."""

    def __init__(self, receive: Receive, patience: float) -> None:
        self._receive = receive
        self._patience = patience
        self._ended = False
        self.gave_up = False

    async def __call__(self) -> Message:
        if self._ended:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._patience)
        except asyncio.TimeoutError:
            self.gave_up = True
            raise TimeoutError from None
        self._ended = message["type"] != "http.request" or not message.get("more_body", False)
        return message


def _is(scope: Scope, method: str, path: "re.Pattern[str]") -> bool:
    return scope["method"] == method and path.match(scope["path"]) is not None
