# SPDX-License-Identifier: Apache-2.0
"""The reading page: a case, where the model looked, and what a reader says of it; three files, nothing from elsewhere.

The page asks the server's own addresses, with the role of whoever looks at it; it adds no right that they don't give.
"""

from pathlib import Path
from typing import Literal

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from fedxai.label.access import guarded

_FOLDER = Path(__file__).with_name("page")
# Only its own script and style run; pictures come in the answers; nothing is sent to another place or framed.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter(route_class=guarded("reader"))


@router.get("/reading/")
def page() -> Response:
    """The page itself."""
    return _file("index.html")


@router.get("/reading/{name}")
def part(name: Literal["page.js", "page.css"]) -> Response:
    """Its script and its style."""
    return _file(name)


def _file(name: str) -> Response:
    return FileResponse(_FOLDER / name, headers={"Content-Security-Policy": POLICY})
