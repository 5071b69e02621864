# SPDX-License-Identifier: Apache-2.0
"""A tap on the line between a site and the server, for tests that hold the keys of both ends."""

import asyncio
import contextlib
import ssl
import threading
from collections import defaultdict
from pathlib import Path

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME = 9  # bytes of a frame's head: length, kind, flags, stream
_DATA = 0


class Tap:
    """Mutual TLS on either side, and what the site sends in clear between them.

    Args:
        port: where the site connects to.
        server: the server's port.
        front: ``startup/`` of the server's kit, as which the tap answers the site.
        back: ``startup/`` of the site's kit, as which it goes on to the server.
    """

    def __init__(self, port: int, server: int, *, front: Path, back: Path) -> None:
        self._server = server
        self._front = _context(ssl.Purpose.CLIENT_AUTH, front, "server")
        self._back = _context(ssl.Purpose.SERVER_AUTH, back, "client")
        self._sent: list[bytearray] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        opened = asyncio.start_server(self._joined, "127.0.0.1", port, ssl=self._front)
        asyncio.run_coroutine_threadsafe(opened, self._loop).result(10)

    def forget(self) -> None:
        """Begin anew; connections that are open stay so."""
        for connection in self._sent:
            connection.clear()

    def sent(self) -> bytes:
        """What the site sent: as it was on the line, and once more with the messages put together out of frames."""
        return b"\n".join(bytes(part) for raw in self._sent for part in (raw, put_together(bytes(raw))))

    def close(self) -> None:
        """Take the tap away, and the line with it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept = bytearray()
        self._sent.append(kept)
        with contextlib.suppress(OSError):
            onward = await asyncio.open_connection("localhost", self._server, ssl=self._back)
            await asyncio.gather(_carry(reader, onward[1], kept), _carry(onward[0], writer, bytearray()))


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            kept += data
            target.write(data)
            await target.drain()
    with contextlib.suppress(OSError):
        target.close()


def put_together(raw: bytes) -> bytes:
    """The data of a connection's HTTP/2 streams, without the heads that stand between every 16 KB of it."""
    streams: dict[int, bytearray] = defaultdict(bytearray)
    place = len(_PREFACE) if raw.startswith(_PREFACE) else 0
    while place + _FRAME <= len(raw):
        length, kind = int.from_bytes(raw[place : place + 3], "big"), raw[place + 3]
        stream = int.from_bytes(raw[place + 5 : place + _FRAME], "big")
        place += _FRAME
        if kind == _DATA:
            streams[stream] += raw[place : place + length]
        place += length
    return b"\n".join(map(bytes, streams.values()))


def _context(purpose: ssl.Purpose, startup: Path, whose: str) -> ssl.SSLContext:
    context = ssl.create_default_context(purpose, cafile=str(startup / "rootCA.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(startup / f"{whose}.crt", startup / f"{whose}.key")
    context.set_alpn_protocols(["h2"])
    return context
