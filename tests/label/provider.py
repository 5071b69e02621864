# SPDX-License-Identifier: Apache-2.0
"""An identity provider of a test's own on loopback: discovery, keys, and a token for one name and password."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

AUDIENCE = "fedxai-label"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
JWK = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "1", "use": "sig", "alg": "RS256"}


class _Provider(BaseHTTPRequestHandler):
    def do_GET(self):
        home = f"http://127.0.0.1:{self.server.server_port}"
        found = {"issuer": home, "jwks_uri": f"{home}/keys", "token_endpoint": f"{home}/token"}
        self._say({"keys": [JWK]} if self.path == "/keys" else found)

    def do_POST(self):
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        good = "username=dr&password=right" in form
        self._say({"access_token": "given"} if good else {"error": "invalid_grant"}, 200 if good else 401)

    def _say(self, found: object, status: int = 200) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, *_):
        pass


@contextmanager
def providing() -> Iterator[str]:
    """The issuer's address while it answers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def claims(issuer: str, **changed: object) -> dict[str, object]:
    """What a good token says; None leaves a claim out."""
    found = {
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": "1",
        "exp": time.time() + 600,
        "preferred_username": "dr.lee",
        "realm_access": {"roles": ["offline_access", "monailabel-annotator"]},
    }
    return {name: value for name, value in {**found, **changed}.items() if value is not None}


def signed(payload: dict[str, object], key: object = KEY, algorithm: str = "RS256") -> str:
    return jwt.encode(payload, key, algorithm=algorithm, headers={"kid": "1"})
