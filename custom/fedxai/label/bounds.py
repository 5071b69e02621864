# SPDX-License-Identifier: Apache-2.0
"""How much is taken on: beyond so many requests in flight the answer is 503 at once, beyond a body's size 413."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedxai.label.refusals import Refusal, say
from fedxai.label.settings import Bounds

_KINDS = (
    ("prediction", "POST", re.compile(r"/infer/")),
    ("upload", "PUT", re.compile(r"/")),
)
_SETTINGS = 1 << 20  # bytes of a body that brings no files
_TOO_LARGE = "The request is larger than this server takes."


class InFlight:
    """Admits requests within bounds, and of a body no more than its size and no longer than it is patient.

    Starlette's own limit of a body answers in plain text and knows one size for all; hence ours.

    Args:
        app: what is asked within the bounds.
        bounds: the bounds.
    """

    def __init__(self, app: ASGIApp, bounds: Bounds) -> None:
        self._app = app
        self._bounds = bounds
        self._most = {
            "request": bounds.requests,
            "prediction": bounds.workers + bounds.waiting,
            "upload": bounds.uploads,
        }
        self._now: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it with 503 and when to ask again, 413 or 408."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        with self._admitted(scope) as full:
            if full:
                sentence = f"The server has as many {full}s in flight as it takes; ask again in a few seconds."
                return await say(503, sentence, {"Retry-After": "5"})(scope, receive, send)
            body = _Body(scope, receive, send, self._bounds)
            if body.declared > body.limit:
                return await say(413, _TOO_LARGE)(scope, receive, body.send)
            try:
                await self._app(scope, body.receive, body.send)
            except TimeoutError:
                if not body.gave_up:
                    raise
                await say(408, "The request's body did not come in time.")(scope, receive, body.send)

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


class _Body:
    """A request's body in pieces, each within a time, and all of them within a size; then waits for the caller to go.

    An answer that is given before a body of undeclared length has ended also ends the connection: uvicorn would go on
    reading what comes.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, bounds: Bounds) -> None:
        headers = Headers(scope=scope)
        files = headers.get("content-type", "").startswith("multipart/")
        self.limit = bounds.upload if files else min(_SETTINGS, bounds.upload)
        self.declared = int(headers.get("content-length", "0"))  # uvicorn has refused what is no number
        self.gave_up = False
        self._endless = "chunked" in headers.get("transfer-encoding", "").lower()
        self._patience, self._size, self._ended = bounds.patience, 0, False
        self._receive, self._send = receive, send

    async def receive(self) -> Message:
        if self._ended:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._patience)
        except asyncio.TimeoutError:
            self.gave_up = True
            raise TimeoutError from None
        self._ended = message["type"] != "http.request" or not message.get("more_body", False)
        self._size += len(message.get("body", b""))
        if self._size > self.limit:
            raise Refusal(413, _TOO_LARGE)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._ended and (self._endless or self.gave_up):
            message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
        await self._send(message)


def _is(scope: Scope, method: str, path: "re.Pattern[str]") -> bool:
    return scope["method"] == method and path.match(scope["path"]) is not None
