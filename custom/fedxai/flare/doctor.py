# SPDX-License-Identifier: Apache-2.0
"""Preflight: what would keep a machine or a startup kit from working, each with one remedy."""

import importlib.metadata
import shutil
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from fedxai.errors import FedxaiError
from fedxai.flare.deploy import listens, processes, session
from fedxai.flare.kit import Kit
from fedxai.flare.policy import site_policy
from fedxai.preflight import Finding

PACKAGE = "fedxai-med"
FREE_DISK = 5 * 2**30  # a job's messages, logs and models, with room
FREE_MEMORY = 2 * 2**30  # PyTorch, MONAI and a small 2-D network in one process
EXPIRES_SOON = timedelta(days=30)
CLOCK_LIMIT = 60.0  # seconds; certificates and the ledger's times stay comparable
_REFUSED = "the server does not accept this kit's certificate"
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # preface, empty settings

Check = Callable[[], Finding]


def examine(kit: Kit | None = None) -> list[Finding]:
    """All checks that make sense for this kit; without one, those of the machine."""
    folder = kit.folder if kit else Path.cwd()
    checks: list[tuple[str, Check]] = [
        ("versions", versions),
        ("disk", lambda: disk(folder)),
        ("memory", memory),
    ]
    if kit is not None:
        checks += [
            ("certificate", lambda: certificate(kit)),
            ("private key", lambda: private_key(kit)),
            ("clock", lambda: clock(kit)),
            ("connection", lambda: connection(kit)),
        ]
        checks += site_policy(kit)
    return list(_answers(checks))


def versions() -> Finding:
    """Every package that this one needs is there, in a version that it was made for."""
    wrong = []
    for text in importlib.metadata.requires(PACKAGE) or []:
        need = Requirement(text)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            found = "missing"
        if found == "missing" or not need.specifier.contains(found, prereleases=True):
            wrong.append(f"{need.name} {found} (needs {need.specifier or 'any'})")
    if wrong:
        return Finding("versions", ", ".join(wrong), "install with pip and constraints.txt of this release")
    flare, monai = importlib.metadata.version("nvflare"), importlib.metadata.version("monai")
    return Finding("versions", f"NVIDIA FLARE {flare}, MONAI {monai}")


def disk(folder: Path) -> Finding:
    """There is room for a job's messages and models."""
    free = shutil.disk_usage(folder).free
    remedy = f"free {FREE_DISK / 2**30:.0f} GB on the disk of the kit" if free < FREE_DISK else ""
    return Finding("disk", f"{free / 2**30:.1f} GB free", remedy)


def memory() -> Finding:
    """There is memory for one training process."""
    free = psutil.virtual_memory().available
    remedy = f"free {FREE_MEMORY / 2**30:.0f} GB of memory" if free < FREE_MEMORY else ""
    return Finding("memory", f"{free / 2**30:.1f} GB available", remedy)


def certificate(kit: Kit, *, now: datetime | None = None) -> Finding:
    """The certificate is the authority's, and holds for some time yet."""
    left = kit.valid_until - (now or _now())
    if not kit.signed_by_authority():
        return Finding("certificate", "not signed by the kit's rootCA.pem", "ask the project admin for a new kit")
    if left <= timedelta(0):
        return Finding("certificate", f"expired on {kit.valid_until:%Y-%m-%d}", "ask the project admin for a new kit")
    soon = "ask the project admin for a new kit before that" if left < EXPIRES_SOON else ""
    return Finding("certificate", f"valid until {kit.valid_until:%Y-%m-%d}", soon)


def private_key(kit: Kit) -> Finding:
    """The key is the certificate's and nobody else on the machine can read it."""
    if not kit.key_fits():
        return Finding("private key", "does not fit the certificate", "ask the project admin for a new kit")
    mode = stat.S_IMODE(kit.key_file.stat().st_mode)
    remedy = f"chmod 600 startup/{kit.key_file.name}" if mode & 0o077 else ""
    return Finding("private key", f"fits, mode {mode:o}", remedy)


def clock(kit: Kit, *, now: datetime | None = None) -> Finding:
    """The clock is not before the certificate and, where this kit may ask the server, close to the server's clock.

    The server says when each site was last heard, by its own clock; sites speak every few seconds.
    """
    here = now or _now()
    if here < kit.valid_from:
        return Finding("clock", f"{kit.valid_from - here} before the certificate begins", "set the clock (NTP)")
    if kit.kind != "person" or not listens(*_server(kit)):
        compared = "not compared with the server's (a person's kit on this machine does)"
        return Finding("clock", f"after the certificate's begin; {compared}")
    with session(kit) as opened:
        heard = [client.last_connect_time for client in opened.get_system_info().client_info]
    if not heard:
        return Finding("clock", "after the certificate's begin; no site connected to compare by")
    difference = abs(here.timestamp() - max(heard))
    remedy = "set the clock (NTP) here or at the server" if difference > CLOCK_LIMIT else ""
    return Finding("clock", f"{difference:.0f} s from the server's last news", remedy)


def connection(kit: Kit) -> Finding:
    """The server can be reached and both sides accept each other's certificate; a server's own port is its own."""
    host, port = _server(kit)
    if kit.kind == "server":
        taken = listens("localhost", port) and not processes(kit)
        remedy = f"stop the program that uses port {port}, or provision another port" if taken else ""
        return Finding("connection", f"port {port} {'is taken' if taken else 'is free or ours'}", remedy)
    if not listens(host, port):
        return Finding("connection", f"{host}:{port} does not answer", "start the server, or open the way to it")
    refusal = handshake(kit, host, port)
    remedy = "ask the project admin whether this kit is of this federation" if refusal else ""
    return Finding("connection", refusal or f"{host}:{port} over mutual TLS", remedy)


def handshake(kit: Kit, host: str, port: int, *, timeout: float = 5) -> str:
    """Why mutual TLS fails there, or nothing; says hello as HTTP/2, so that a refused client certificate shows."""
    folder = kit.folder / "startup"
    context = ssl.create_default_context(cafile=str(folder / "rootCA.pem"))
    context.load_cert_chain(str(folder / "client.crt"), str(folder / "client.key"))
    context.set_alpn_protocols(["h2"])
    try:
        plain = socket.create_connection((host, port), timeout)
        with plain, context.wrap_socket(plain, server_hostname=host) as secure:
            secure.sendall(_HELLO)
            return "" if secure.recv(9) else _REFUSED
    except ssl.SSLCertVerificationError as error:
        return f"the server's certificate is not accepted: {error.verify_message}"
    except OSError as error:
        return f"{_REFUSED} ({type(error).__name__})"


def _server(kit: Kit) -> tuple[str, int]:
    if kit.kind == "person":
        return kit.startup["admin"]["host"], int(kit.startup["admin"]["port"])
    host, _, port = kit.startup["servers"][0]["service"]["target"].rpartition(":")
    return host, int(port)


def _answers(checks: list[tuple[str, Check]]) -> Iterator[Finding]:
    for name, check in checks:
        try:
            yield check()
        except FedxaiError as error:
            yield Finding(name, str(error), "put that right, or ask the project admin for a new kit")


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), timezone.utc)
