# SPDX-License-Identifier: Apache-2.0
"""The ASGI application of a site: MONAI Label's work behind our own addresses, each with a role, bounds and checks.

MONAI Label's own application is not served: it opens names as files, checks no token correctly and blocks while it
predicts. Its functions are called instead, by routes that know what may be named; what has no route here is closed.
"""

import contextlib
import importlib
import importlib.util
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from fedxai.label import shims
from fedxai.label.access import CHALLENGE, Everybody, TokenBackend, demand
from fedxai.label.access_openid import OpenId
from fedxai.label.access_tokens import TOKEN_FILE, TokenFile
from fedxai.label.bounds import InFlight
from fedxai.label.entrance import AccessLog, KnownOrigin
from fedxai.label.refusals import refuse_in_words, say
from fedxai.label.settings import LOOPBACK, ServerSettings

if TYPE_CHECKING:
    from starlette.responses import Response

_FURTHER = "fedxai.label.app.routes"  # addresses that the app adds, if it does


def application(settings: ServerSettings) -> ASGIApp:
    """The application for these settings; the process's environment is set before it (``launch.prepare``).

    Raises:
        RunError: when MONAI Label is not installed.
    """
    shims.apply()
    from fedxai.label import routes_archive, routes_cases, routes_server, routes_tasks

    openid = OpenId(settings.openid) if settings.openid else None
    tokens = None if settings.auth == "none" else _vouching(settings, openid)
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_monailabel,
        middleware=[
            Middleware(AccessLog),
            Middleware(KnownOrigin, origins=settings.origins, names=_names(settings)),
            Middleware(
                CORSMiddleware,
                allow_origins=settings.origins,
                allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
                allow_headers=["Authorization", "Content-Type"],
            ),
            Middleware(AuthenticationMiddleware, backend=tokens or Everybody(), on_error=_unknown),
            Middleware(InFlight, bounds=settings.bounds),
        ],
    )
    refuse_in_words(app)
    workers = anyio.CapacityLimiter(settings.bounds.workers)
    for router in (
        *routes_server.routers(settings, tokens, openid),
        *routes_cases.routers(settings.bounds, workers),
        *routes_tasks.routers(),
        routes_archive.router(settings),
    ):
        app.include_router(router)
    if settings.app is None and importlib.util.find_spec("fedxai.label.app") and importlib.util.find_spec(_FURTHER):
        app.include_router(importlib.import_module(_FURTHER).router(workers))
    app.add_route("/", _front)
    app.mount("/static", _ForReaders(_static()))
    return app


def load_app() -> None:
    """Make MONAI Label's app now; it is made once for the process."""
    from monailabel.interfaces.utils.app import app_instance

    app_instance()


@contextlib.asynccontextmanager
async def _monailabel(app: FastAPI) -> AsyncIterator[None]:
    """MONAI Label's own start and end: it makes the app, and looks after sessions."""
    from monailabel.app import lifespan

    async with lifespan(app):
        yield


def _vouching(settings: ServerSettings, openid: OpenId | None) -> TokenBackend:
    issued = TokenFile(settings.state / TOKEN_FILE)
    return TokenBackend(issued, openid) if openid else TokenBackend(issued)


def _unknown(request: HTTPConnection, error: Exception) -> "Response":
    del request
    return say(401, str(error), {"WWW-Authenticate": CHALLENGE})


def _names(settings: ServerSettings) -> tuple[str, ...]:
    own = () if settings.loopback else (settings.host, socket.gethostname(), socket.getfqdn())
    return (*LOOPBACK, *own, *settings.names)


async def _front(request: Request) -> "Response":
    from fedxai.label.routes_server import front_page

    return front_page(request)


def _static() -> ASGIApp:
    import monailabel

    return StaticFiles(directory=Path(monailabel.__file__).parent / "endpoints" / "static")


class _ForReaders:
    """Files for whoever may read."""

    def __init__(self, files: ASGIApp) -> None:
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        demand(Request(scope), "reader")
        await self._files(scope, receive, send)
