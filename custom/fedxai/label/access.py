# SPDX-License-Identifier: Apache-2.0
"""Who may do what: people, their roles, and routes that ask for a role before they read a request's body."""

import base64
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from fastapi.routing import APIRoute
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, BaseUser
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

Role = Literal["reader", "annotator", "admin"]
ROLES: tuple[Role, ...] = ("reader", "annotator", "admin")  # each may do what those before it may
CHALLENGE = 'Basic realm="fedxai label", charset="UTF-8"'  # and no Bearer: Chromium then asks for nothing
REFUSED = "This needs a valid token; ask the site engineer for one (`fedxai label token`)."


class Rejected(Exception):
    """A token that nobody vouches for; says nothing of why, so that nothing can be learnt from it."""


@dataclass(frozen=True, kw_only=True)
class Person(BaseUser):
    """Who sent a request."""

    name: str
    role: Role

    @property
    def is_authenticated(self) -> bool:
        """Whether a token vouched for the person."""
        return True

    @property
    def display_name(self) -> str:
        """The name that stands in logs and beside what was drawn."""
        return self.name

    @property
    def identity(self) -> str:
        """The same name."""
        return self.name

    def may(self, role: Role) -> bool:
        """Whether the person's role includes another one."""
        return ROLES.index(self.role) >= ROLES.index(role)


LOCAL = Person(name="local", role="admin")  # on loopback without tokens


class Vouching(Protocol):
    """Whatever says whose a token is."""

    def person(self, token: str) -> Person:
        """Whose token it is.

        Raises:
            Rejected: when it is nobody's.
        """
        ...


class TokenBackend(AuthenticationBackend):
    """Takes a token as ``Bearer`` (MONAI Label's clients) or as the password of ``Basic`` (browsers).

    Args:
        vouching: those who are asked in turn.
    """

    def __init__(self, *vouching: Vouching) -> None:
        self._vouching = vouching

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        """The person of a request's token; nobody where there is no token.

        Raises:
            AuthenticationError: when there is a token and it is not valid.
        """
        header = conn.headers.get("authorization")
        if header is None:
            return None
        try:
            person = await run_in_threadpool(self.person, presented(header))
        except Rejected:
            raise AuthenticationError(REFUSED) from None
        return AuthCredentials([role for role in ROLES if person.may(role)]), person

    def person(self, token: str) -> Person:
        """Whose token it is, by the first who knows it.

        Raises:
            Rejected: when nobody does.
        """
        for one in self._vouching:
            try:
                return one.person(token)
            except Rejected:
                continue
        raise Rejected


class Everybody(AuthenticationBackend):
    """Without tokens, on loopback: whoever reaches the server may do everything."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        """The local person."""
        del conn
        return AuthCredentials(list(ROLES)), LOCAL


def presented(header: str) -> str:
    """The token of an ``Authorization`` header.

    Raises:
        Rejected: when the header holds none.
    """
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        raise Rejected
    try:
        return base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2]
    except ValueError:  # no base64, or no UTF-8
        raise Rejected from None


def sender(request: Request) -> Person:
    """Who sent the request.

    Raises:
        HTTPException: 401 when nobody vouched for them.
    """
    if not request.user.is_authenticated:
        raise HTTPException(401, REFUSED, headers={"WWW-Authenticate": CHALLENGE})
    return cast(Person, request.user)


def demand(request: Request, role: Role) -> Person:
    """Who sent the request, when their role suffices.

    Raises:
        HTTPException: 401 without a valid token, 403 when the role does not suffice.
    """
    person = sender(request)
    if not person.may(role):
        raise HTTPException(403, f"This needs the role {role}; your token has the role {person.role}.")
    return person


def role(needed: Role) -> Callable[[Request], Person]:
    """A FastAPI dependency for further routes: ``person: Person = Depends(role("annotator"))``."""

    def dependency(request: Request) -> Person:
        return demand(request, needed)

    return dependency


def guarded(needed: Role) -> type[APIRoute]:
    """A class of routes that ask for a role before a body is read; a dependency would be asked after it."""

    class Guarded(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            answer = super().get_route_handler()

            async def ask_first(request: Request) -> Response:
                demand(request, needed)
                return await answer(request)

            return ask_first

    return Guarded
