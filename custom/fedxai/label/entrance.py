# SPDX-License-Identifier: Apache-2.0
"""The way in: requests for this server by its own name, from its own pages or named ones; each in the access log."""

import logging
import time
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedxai.label.access import Person
from fedxai.label.refusals import say

_log = logging.getLogger("fedxai.label.access")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"))
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
}
_NOT_KEPT = {**HEADERS, "Cache-Control": "no-store"}  # patients' data; the viewer's own program may be kept


class KnownOrigin:
    """Refuses requests that another web page sends with a person's browser, and names that are not the server's.

    The second keeps a page from pointing a name of its own at the loopback address (DNS rebinding).

    Args:
        app: what is asked.
        origins: pages, as https://host[:port], that may call besides the server's own.
        names: host names of the server.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str], names: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._names = frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it with 400 or 403."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if _hostname(host) not in self._names:
            return await say(400, "The server is not known by that name; see --name.")(scope, receive, send)
        if origin is not None and origin not in self._origins and urlsplit(origin).netloc != host:
            sentence = "Requests from other web pages are refused; see --origin."
            return await say(403, sentence)(scope, receive, send)
        await self._app(scope, receive, send)


class AccessLog:
    """One line a request: method, route, status, milliseconds, bytes and who; no id, name of a file or query.

    Args:
        app: what is asked.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with safe headers on the answer, and write its line."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began = time.monotonic()
        status, size = 500, 0

        async def note(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                safe = HEADERS if scope["path"].startswith(("/ohif/", "/static/")) else _NOT_KEPT
                held = {name.lower() for name, _ in message.get("headers", [])}
                message["headers"] = [
                    *message.get("headers", []),
                    *((k.encode(), v.encode()) for k, v in safe.items() if k.lower().encode() not in held),
                ]
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            route = getattr(scope.get("route"), "path", "-")
            person = scope.get("user")
            who = f"{person.name} ({person.role})" if isinstance(person, Person) else "-"
            method = scope["method"] if scope["method"] in _METHODS else "-"
            _log.info("%s %s %d %.0f ms %d B %s", method, route, status, 1000 * (time.monotonic() - began), size, who)


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
