# SPDX-License-Identifier: Apache-2.0
"""What a caller reads when a request is refused or fails: one sentence of JSON, never a path or a stack trace."""

import logging

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fedxai.errors import FedxaiError

_log = logging.getLogger(__name__)

_SENTENCES = {
    400: "The request cannot be read.",
    404: "There is nothing by that name here.",
    405: "This address does not take that method.",
    406: "This server does not do that.",
    413: "The request is larger than this server takes.",
    429: "Such a task is running already; ask again when it has ended.",
}
FAILED = "The server could not answer; its log in the state folder says why."


class Refusal(HTTPException):
    """A refusal in our own words; those of MONAI Label can hold paths and are replaced."""


class NotFound(Refusal):
    """Nothing of that name: an image, label, model, method or strategy.

    Args:
        what: the kind of thing; never its name, which came from the caller.
    """

    def __init__(self, what: str) -> None:
        super().__init__(404, f"This server has no such {what}.")


def say(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    """A refusal as people and programs read it."""
    return JSONResponse({"detail": sentence}, status_code=status, headers=headers)


def refuse_in_words(app: FastAPI) -> None:
    """Answer whatever goes wrong in a route by one sentence."""
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(FedxaiError, _impossible)
    app.add_exception_handler(NotImplementedError, _not_done)  # an archive takes no new images, for instance
    app.add_exception_handler(Exception, _failed)


async def _refused(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)
    ours = isinstance(error, Refusal) or error.status_code in (401, 403)
    sentence = error.detail if ours else _SENTENCES.get(error.status_code, FAILED)
    return say(error.status_code, sentence, dict(error.headers or {}))


async def _malformed(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = next((part for part in reversed(first["loc"]) if isinstance(part, str)), "request")
    return say(422, f"The request's {where} breaks its rule: {first['msg'].lower()}.")


async def _impossible(request: Request, error: Exception) -> Response:
    """This package's own sentences name settings, counts and shapes, never a patient's value (docs of errors)."""
    del request
    return say(400, str(error))


async def _not_done(request: Request, error: Exception) -> Response:
    del request, error
    return say(406, _SENTENCES[406])


async def _failed(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, getattr(request.scope.get("route"), "path", "-"), exc_info=error)
    return say(500, FAILED)
