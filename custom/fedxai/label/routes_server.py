# SPDX-License-Identifier: Apache-2.0
"""What is about the server itself: logging in, pages of OHIF, sessions, logs, and what is closed until opened."""

import os
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, BackgroundTasks, File, Form, Query, Request, UploadFile
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import RedirectResponse

from fedxai.label import names
from fedxai.label.access import CHALLENGE, REFUSED, Rejected, TokenBackend, demand, guarded, sender
from fedxai.label.access_openid import OpenId
from fedxai.label.refusals import Refusal
from fedxai.label.settings import ServerSettings
from fedxai.label.uploads import IMAGES, examined, examined_archive

_MOST_FILES = 2000
_SERVER = "MONAILABEL_SERVER_URL"


def routers(settings: ServerSettings, backend: TokenBackend | None, openid: OpenId | None) -> list[APIRouter]:
    """The routes of the server for each role."""
    return [_everybody(backend, openid), _readers(settings), _admins(settings)]


def _everybody(backend: TokenBackend | None, openid: OpenId | None) -> APIRouter:
    router = APIRouter()

    @router.get("/auth/")
    def asked_for_tokens() -> Any:
        return {"enabled": backend is not None, "client_id": "fedxai", "realm": "fedxai label"}

    # 3D Slicer asks for a name and a password and wants a token for them: the password is the token.
    @router.post("/auth/token")
    def token(username: Annotated[str, Form(max_length=256)], password: Annotated[str, Form(max_length=8192)]) -> Any:
        if backend is None:
            return {"access_token": None, "token_type": None}
        try:
            backend.person(password)
            return {"access_token": password, "token_type": "bearer"}
        except Rejected:
            pass
        try:
            if openid is not None:
                return openid.exchange(username, password)
        except Rejected:
            pass
        raise Refusal(401, REFUSED, headers={"WWW-Authenticate": CHALLENGE})

    return router


def _readers(settings: ServerSettings) -> APIRouter:
    from monailabel.endpoints import ohif, session

    router = APIRouter(route_class=guarded("reader"))

    @router.get("/auth/token/valid")
    def whose(request: Request) -> Any:
        person = sender(request)
        return {"username": person.name, "email": None, "name": person.name, "roles": [person.role]}

    @router.get("/ohif/{path:path}")
    def viewer(request: Request, path: str) -> Any:
        if path and not path.strip("./"):
            raise names.NotFound("page")
        page = ohif.get_ohif(path)
        # OHIF's panel asks this server, not port 8000 of the same host.
        page.set_cookie(_SERVER, quote(str(request.base_url), safe=""), samesite="strict")
        return page

    @router.put("/session/")
    def open_session(
        background: BackgroundTasks,
        files: Annotated[list[UploadFile], File(max_length=_MOST_FILES)],
        uncompress: bool = False,
        expiry: Annotated[int, Query(ge=0)] = 0,
    ) -> Any:
        for number, file in enumerate(files):
            _examine(file, number, settings, archive=uncompress and len(files) == 1)
        made = session.create_session(background, uncompress and len(files) == 1, expiry, files)
        return {"session_id": made["session_id"], "session_info": _of_session(made["session_info"])}

    @router.get("/session/{session_id}")
    def opened_session(session_id: str, update_ts: bool = False, image: bool = False) -> Any:
        found = session.get_session(names.session(session_id), update_ts, image)
        return found if image else _of_session(found)

    @router.delete("/session/{session_id}")
    def close_session(session_id: str) -> Any:
        return _of_session(session.remove_session(names.session(session_id)))

    return router


def _admins(settings: ServerSettings) -> APIRouter:
    from monailabel.config import settings as theirs
    from monailabel.endpoints import logs, model

    router = APIRouter(route_class=guarded("admin"))

    @router.get("/model/{name}")
    def weights(name: str) -> Any:
        return model.download_model(names.of_app("model", name))

    @router.get("/model/info/{name}")
    def about_weights(name: str) -> Any:
        return names.without_paths(model.model_info(names.of_app("model", name)))

    @router.get("/logs/")
    def log(lines: Annotated[int, Query(ge=1, le=10_000)] = 300) -> Any:
        file = os.path.join(theirs.MONAI_LABEL_APP_DIR, "logs", "app.log")
        return logs.get_logs(file, lines, html=False, text=True, refresh=0)

    @router.put("/model/{name}")
    def replace_weights(background: BackgroundTasks, name: str, file: Annotated[UploadFile, File()]) -> Any:
        _opened(settings, "model")
        if not (file.filename or "").endswith((".pt", ".ts")):
            raise Refusal(415, "Weights are taken as .pt or .ts.")
        file.filename = "upload.pt"
        return model.update_model(background, names.of_app("model", name), file)

    @router.delete("/model/{name}")
    def remove_weights(name: str) -> Any:
        _opened(settings, "model")
        return model.delete_model(names.of_app("model", name))

    @router.post("/reload")
    def reload() -> Any:
        from monailabel.interfaces.utils.app import clear_cache

        _opened(settings, "reload")
        clear_cache()
        return {}

    @router.get("/docs")
    @router.get("/openapi.json")
    def documentation(request: Request) -> Any:
        _opened(settings, "docs")
        if request.url.path == "/openapi.json":
            return request.app.openapi()
        return get_swagger_ui_html(openapi_url="/openapi.json", title="fedxai label")

    return router


def front_page(request: Request) -> Any:
    """The server's own address leads to the viewer.

    Raises:
        HTTPException: 401 without a valid token.
    """
    demand(request, "reader")
    return RedirectResponse("/ohif/")


def _opened(settings: ServerSettings, what: str) -> None:
    if what not in settings.open:
        raise Refusal(403, f"This is closed on this server; the site engineer opens it with --open {what}.")


def _examine(file: UploadFile, number: int, settings: ServerSettings, *, archive: bool) -> None:
    limit = settings.bounds.unpacked
    if archive:
        examined_archive(file.file, limit=limit)
        file.filename = "upload.zip"
    else:
        file.filename = f"{number:04d}{examined(file.file, file.filename, kinds=IMAGES, limit=limit)}"


def _of_session(info: Any) -> dict[str, Any]:
    return {key: value for key, value in info.items() if key not in ("path", "image")}
