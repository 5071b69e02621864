# SPDX-License-Identifier: Apache-2.0
"""What is in flight is counted down again whatever happens; bodies end in size and time; the entrance knows names."""

import asyncio
import json
import logging

import pytest

from fedxai.label.bounds import InFlight
from fedxai.label.entrance import AccessLog, KnownOrigin
from fedxai.label.settings import Bounds

SMALL = Bounds(workers=1, waiting=1, requests=4, uploads=1, upload=1000, unpacked=1000, patience=0.05)


class Answered(Exception):
    """The application was asked."""


def scope(method: str = "GET", path: str = "/info/", **headers: str) -> dict[str, object]:
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "headers": raw}


async def ask(app, asked, *pieces: bytes, wait: bool = False) -> tuple[int, dict[str, str], str]:
    """Status, headers and sentence of an answer."""
    sent: list[dict] = []
    left = list(pieces)

    async def receive():
        if wait and not left:
            await asyncio.sleep(60)
        body = left.pop(0) if left else b""
        return {"type": "http.request", "body": body, "more_body": bool(left) or wait}

    async def send(message):
        sent.append(message)

    await app(asked, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, json.loads(body).get("detail", "") if body else ""


async def reading(scope, receive, send):
    """An application that reads the whole body."""
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def held(event: asyncio.Event):
    async def app(scope, receive, send):
        await event.wait()
        await reading(scope, receive, send)

    return app


@pytest.mark.parametrize(
    ("asked", "most"),
    [
        (scope("POST", "/infer/x"), 2),
        (scope("POST", "/infer/x/series"), 2),
        (scope("PUT", "/session/"), 1),
        (scope(), 4),
    ],
    ids=str,
)
def test_beyond_the_bound_it_is_503_and_afterwards_free_again(asked, most):
    async def story():
        event = asyncio.Event()
        app = InFlight(held(event), SMALL)
        waiting = [asyncio.create_task(ask(app, asked)) for _ in range(most)]
        await asyncio.sleep(0)
        status, headers, sentence = await ask(app, asked)
        assert (status, headers["retry-after"]) == (503, "5")
        assert "ask again" in sentence
        event.set()
        assert [status for status, _, _ in await asyncio.gather(*waiting)] == [200] * most
        assert (await ask(app, asked))[0] == 200

    asyncio.run(story())


def test_a_failure_gives_its_place_back():
    async def failing(scope, receive, send):
        raise Answered

    async def story():
        app = InFlight(failing, SMALL)
        for _ in range(10):
            with pytest.raises(Answered):
                await ask(app, scope("PUT", "/session/"))

    asyncio.run(story())


def test_predictions_that_wait_do_not_keep_others_out():
    async def story():
        event = asyncio.Event()
        app = InFlight(held(event), SMALL)
        waiting = [asyncio.create_task(ask(app, scope("POST", "/infer/x"))) for _ in range(2)]
        await asyncio.sleep(0)
        info = asyncio.create_task(ask(app, scope()))
        await asyncio.sleep(0)
        assert not info.done()  # admitted: it waits for the application, not refused
        event.set()
        assert {status for status, _, _ in await asyncio.gather(info, *waiting)} == {200}

    asyncio.run(story())


def test_a_body_that_does_not_come_is_408():
    status, headers, _ = asyncio.run(ask(InFlight(reading, SMALL), scope("PUT", "/x"), b"a", wait=True))
    assert (status, headers["connection"]) == (408, "close")


def test_a_body_that_is_declared_too_large_is_not_read():
    async def never(scope, receive, send):
        raise Answered

    files = scope("PUT", "/x", content_length="1001", content_type="multipart/form-data; boundary=b")
    assert asyncio.run(ask(InFlight(never, SMALL), files))[0] == 413


def test_pieces_of_a_body_are_added_up():
    from starlette.exceptions import HTTPException

    async def story(*pieces):
        with pytest.raises(HTTPException) as refused:
            await ask(InFlight(reading, SMALL), scope("PUT", "/x", transfer_encoding="chunked"), *pieces)
        return refused.value.status_code

    assert asyncio.run(story(b"a" * 600, b"a" * 600)) == 413
    assert asyncio.run(ask(InFlight(reading, SMALL), scope("PUT", "/x"), b"a" * 600, b"a" * 400))[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "SITE.example"}, 200),
        ({"host": "evil.example"}, 400),
        ({"host": "localhost.evil.example"}, 400),
        ({"host": "[::1"}, 400),
        ({"host": ""}, 400),
        ({}, 400),
        ({"host": "localhost:8000", "origin": "http://localhost:8000"}, 200),
        ({"host": "localhost:8000", "origin": "https://named.example"}, 200),
        ({"host": "localhost:8000", "origin": "http://localhost:9000"}, 403),
        ({"host": "localhost:8000", "origin": "https://named.example.evil"}, 403),
        ({"host": "localhost:8000", "origin": "null"}, 403),
        ({"host": "localhost:8000", "origin": ""}, 403),
    ],
    ids=str,
)
def test_names_and_pages_that_are_not_known_are_refused(headers, status):
    names = ("localhost", "::1", "site.example")
    app = KnownOrigin(reading, origins=("https://named.example",), names=names)
    assert asyncio.run(ask(app, scope(**headers)))[0] == status


def test_the_log_names_the_route_and_no_method_that_a_caller_made_up(caplog):
    async def routed(scope, receive, send):
        scope["route"] = type("Route", (), {"path": "/datastore/image"})
        await reading(scope, receive, send)

    with caplog.at_level(logging.INFO, "fedxai.label.access"):
        asyncio.run(ask(AccessLog(routed), scope("RAHMAN", "/datastore/image/rahman")))
    assert caplog.messages[0].startswith("- /datastore/image 200")
    assert "rahman" not in caplog.text.lower()
