# SPDX-License-Identifier: Apache-2.0
"""The archive as OHIF reads it through the server: DICOMweb resources only, and only to read."""

import re
from collections.abc import Iterator
from typing import Any, Literal

import requests
from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse

from fedxai.label.access import guarded
from fedxai.label.refusals import NotFound, Refusal
from fedxai.label.settings import ServerSettings

# Words of the DICOMweb standard, UIDs, frame numbers and tags: nothing that climbs out of the archive's DICOMweb root.
_WORD = r"(studies|series|instances|metadata|frames|rendered|thumbnail|bulk|bulkdata|[0-9A-Fa-f][0-9A-Fa-f.,]*)"
_RESOURCE = re.compile(rf"(studies|series|instances)(/{_WORD})*/?")
_PIECE = 1 << 16


def router(settings: ServerSettings) -> APIRouter:
    """The routes through which a viewer reads the archive."""
    from monailabel.config import settings as theirs

    routes = APIRouter(route_class=guarded("reader"))
    prefixes = {"wado": theirs.MONAI_LABEL_WADO_PREFIX, "qido": theirs.MONAI_LABEL_QIDO_PREFIX}
    given = (theirs.MONAI_LABEL_DICOMWEB_USERNAME, theirs.MONAI_LABEL_DICOMWEB_PASSWORD)

    @routes.get("/proxy/dicom/{service}/{path:path}")
    def read(request: Request, service: Literal["wado", "qido"], path: str) -> Any:
        if not settings.archive:
            raise NotFound("archive")
        if not _RESOURCE.fullmatch(path):
            raise Refusal(400, "Only resources of DICOMweb are read through this server.")
        prefix = prefixes["wado" if path.endswith("metadata") else service]
        address = "/".join(part for part in (settings.studies.rstrip("/"), prefix, path) if part)
        try:
            reply = requests.get(
                address,
                params=request.url.query,
                headers={"Accept": request.headers.get("accept", "*/*")},
                auth=given if all(given) else None,
                timeout=theirs.MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT,
                stream=True,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise Refusal(502, "The archive does not answer.") from error
        kind = {"Content-Type": reply.headers["Content-Type"]} if "Content-Type" in reply.headers else {}
        return StreamingResponse(_pieces(reply), reply.status_code, kind, background=BackgroundTask(reply.close))

    return routes


def _pieces(reply: requests.Response) -> Iterator[bytes]:
    yield from reply.iter_content(_PIECE)
