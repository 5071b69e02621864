# SPDX-License-Identifier: Apache-2.0
"""Tokens of the hospital's identity provider (OpenID Connect), validated with PyJWT."""

import re
import threading
from typing import Any

import jwt
import requests

from fedxai.errors import RunError
from fedxai.label.access import ROLES, Person, Rejected, Role
from fedxai.label.settings import OpenIdSettings

# Named one by one: a token's own header never decides, so "none" and a public key used as an HMAC secret are out.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
LEEWAY = 30  # seconds that two clocks may differ
TIMEOUT = 10
# The names that MONAI Label's own documentation gives a Keycloak realm, and the plain ones.
_NAMED: dict[str, Role] = {
    "monailabel-user": "reader",
    "monailabel-annotator": "annotator",
    "monailabel-reviewer": "annotator",
    "monailabel-admin": "admin",
    **{f"fedxai-{role}": role for role in ROLES},
}


class OpenId:
    """Vouches for people by the tokens of one issuer.

    A token counts when its signature is by one of the issuer's published keys and one of ``ALGORITHMS``, ``iss`` is the
    issuer, ``aud`` names this server, ``exp`` lies ahead, and it lists a role that is known here.

    Args:
        settings: issuer, audience and claims.
    """

    def __init__(self, settings: OpenIdSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._found: tuple[jwt.PyJWKClient, str] | None = None

    def person(self, token: str) -> Person:
        """Whose token it is.

        Raises:
            Rejected: when the token does not count, or the issuer cannot be asked for its keys.
        """
        try:
            key = self._provider()[0].get_signing_key_from_jwt(token)
            claims = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, RunError, ValueError):
            raise Rejected from None
        roles = [_NAMED[name] for name in _listed(claims, self._settings.roles_claim) if name in _NAMED]
        if not roles:
            raise Rejected
        name = re.sub(r"[^\w.@ -]", "_", str(claims.get(self._settings.name_claim) or claims["sub"]))[:64]
        return Person(name=name, role=next(role for role in reversed(ROLES) if role in roles))

    def exchange(self, username: str, password: str) -> dict[str, Any]:
        """The provider's answer to a name and password, as MONAI Label's viewers ask it of the server.

        Raises:
            Rejected: when the provider does not give a token.
            RunError: when it cannot be reached.
        """
        endpoint = self._provider()[1]
        form = {
            "client_id": self._settings.audience,
            "username": username,
            "password": password,
            "grant_type": "password",
        }
        try:
            reply = requests.post(endpoint, data=form, timeout=TIMEOUT, allow_redirects=False)
            answer = reply.json() if reply.ok else {}
        except (requests.RequestException, ValueError) as error:
            raise RunError("the identity provider cannot be reached") from error
        if not isinstance(answer, dict) or "access_token" not in answer:
            raise Rejected
        return {"access_token": answer["access_token"], "token_type": "bearer"}

    def _provider(self) -> tuple[jwt.PyJWKClient, str]:
        with self._lock:
            if self._found is None:
                self._found = self._discover()
            return self._found

    def _discover(self) -> tuple[jwt.PyJWKClient, str]:
        issuer = self._settings.issuer
        try:
            reply = requests.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration", timeout=TIMEOUT)
            reply.raise_for_status()
            found = reply.json()
            if found["issuer"] != issuer:
                raise RunError(f"the identity provider names itself {found['issuer']!r}; use that as issuer")
            return jwt.PyJWKClient(found["jwks_uri"], timeout=TIMEOUT), str(found.get("token_endpoint", ""))
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            raise RunError("the identity provider's openid-configuration cannot be read") from error


def _listed(claims: dict[str, Any], path: str) -> list[str]:
    """The strings at a dotted path of claims; none where there is no such list."""
    value: Any = claims
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
