# SPDX-License-Identifier: Apache-2.0
"""A line between a site and the server that tests can drop and restore."""

import contextlib
import socket
import threading


class Line:
    """A way to the server that can be dropped: a proxy of bytes on loopback."""

    def __init__(self, port: int, server: int) -> None:
        self._server, self._up, self._ends = server, threading.Event(), set[socket.socket]()
        self._up.set()
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def drop(self) -> None:
        """Cut what is connected and refuse what comes."""
        self._up.clear()
        for end in list(self._ends):
            self._close(end)

    def restore(self) -> None:
        """Let connections through again."""
        self._up.set()

    def close(self) -> None:
        """Take the line away."""
        self.drop()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._up.is_set():
                    near.close()
                    continue
                try:
                    far = socket.create_connection(("localhost", self._server))
                except OSError:
                    near.close()
                    continue
                self._ends |= {near, far}
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        self._close(source)
        self._close(target)

    def _close(self, end: socket.socket) -> None:
        self._ends.discard(end)
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
