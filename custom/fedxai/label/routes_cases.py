# SPDX-License-Identifier: Apache-2.0
"""Images, labels and predictions: MONAI Label's addresses, each with a role and with names that exist."""

import json
import os
import threading
from typing import Annotated, Any, Literal

import anyio
from fastapi import APIRouter, BackgroundTasks, File, Form, Query, Request, UploadFile
from starlette.background import BackgroundTask

from fedxai.label import names
from fedxai.label.access import guarded, sender
from fedxai.label.refusals import Refusal
from fedxai.label.settings import Bounds
from fedxai.label.uploads import IMAGES, LABELS, examined

Settings = Annotated[str, Form(max_length=names.SETTINGS_LIMIT)]
Id = Annotated[str, Query(max_length=256)]
Tag = Annotated[str, Query(max_length=128)]
Session = Annotated[str, Query(pattern=names.SESSION)]
Sent = Annotated[UploadFile, File()]
Upload = Annotated[UploadFile | None, File()]

writing = threading.Lock()  # MONAI Label's datastore was written for one request at a time


def routers(bounds: Bounds, workers: anyio.CapacityLimiter) -> list[APIRouter]:
    """The routes of cases for each role.

    Args:
        bounds: of what is taken on.
        workers: what predicts or explains a case waits for one of them.
    """
    return [_readers(bounds, workers), _annotators(bounds), _admins()]


def _readers(bounds: Bounds, workers: anyio.CapacityLimiter) -> APIRouter:
    from monailabel.endpoints import activelearning, datastore, infer, info

    router = APIRouter(route_class=guarded("reader"))
    router.add_api_route("/info/", lambda: names.without_paths(info.app_info()), methods=["GET"])

    @router.get("/datastore/")
    def stored(request: Request, output: Literal["stats", "all", "train"] | None = None) -> Any:
        if output == "train" and not sender(request).may("admin"):
            raise Refusal(403, "The list for training holds the server's paths; it is for admins.")
        found = datastore.datastore(datastore.ResultType(output) if output else None)
        return found if output == "train" or isinstance(found, str) else names.without_paths(found)

    @router.get("/datastore/image")
    def image_file(image: Id) -> Any:
        return datastore.download_image(names.image_id(image))

    @router.head("/datastore/image")
    def image_there(image: Id, check_sum: Annotated[str | None, Query(pattern=r"^(\w+:)?[0-9a-f]+$")] = None) -> Any:
        return datastore.download_image(names.image_id(image), check_only=True, check_sum=check_sum)

    @router.get("/datastore/image/info")
    def image_info(image: Id) -> Any:
        return names.without_paths(datastore.get_image_info(names.image_id(image)))

    @router.get("/datastore/label")
    def label_file(label: Id, tag: Tag) -> Any:
        return datastore.download_label(names.label_of(label, tag), tag)

    @router.head("/datastore/label")
    def label_there(image: Id, tag: Tag) -> Any:
        return datastore.download_label(names.label_of(image, tag), tag, check_only=True)

    @router.get("/datastore/label/info")
    def label_info(label: Id, tag: Tag) -> Any:
        return names.without_paths(datastore.get_label_info(names.label_of(label, tag), tag))

    @router.post("/activelearning/{strategy}")
    async def next_sample(request: Request, strategy: str, params: dict[str, Any] | None = None) -> Any:
        def chosen() -> Any:
            names.of_app("strategy", strategy)
            asked = names.task_settings(params)
            return names.without_paths(activelearning.sample(strategy, asked, sender(request).name))

        return await anyio.to_thread.run_sync(chosen, limiter=workers)  # a strategy may explain cases

    @router.post("/infer/{model}")
    async def predict(
        background: BackgroundTasks,
        model: str,
        image: Id = "",
        session_id: Session = "",
        params: Settings = "{}",
        file: Upload = None,
        label: Upload = None,
        output: infer.ResultType | None = None,
    ) -> Any:
        def predicted() -> Any:
            kind = names.kind_of(model)
            names.task_settings(names.settings_of(params))
            if output == infer.ResultType.dicom_seg or (output == infer.ResultType.image and kind == "classification"):
                raise Refusal(406, f"The answer of this model is not given as {output.value}; ask for json.")
            if not (image or file or session_id):
                raise Refusal(422, "Name an image of the datastore, or send one.")
            if image:
                names.image_id(image)
            if session_id:
                names.session(session_id)
            for upload, kinds in ((file, IMAGES), (label, LABELS)):
                if upload:
                    _examine(upload, kinds, bounds)
            return infer.run_inference(background, model, image, session_id, params, file, label, output)  # pyright: ignore[reportArgumentType]

        # In a thread, as many at a time as there are workers: the event loop goes on answering.
        return await anyio.to_thread.run_sync(predicted, limiter=workers)

    return router


def _annotators(bounds: Bounds) -> APIRouter:
    from monailabel.endpoints import datastore

    router = APIRouter(route_class=guarded("annotator"))

    def add_image(
        request: Request, background: BackgroundTasks, file: Sent, image: Id = "", params: Settings = "{}"
    ) -> Any:
        sent = file.filename or ""
        ending = _examine(file, IMAGES, bounds)
        with writing:
            identity = names.new_image_id(image or sent[: -len(ending)])
            told = names.settings_of(params)
            return datastore.add_image(background, identity, json.dumps(told), file, sender(request).name)

    for address in ("/datastore/", "/datastore/image"):
        router.add_api_route(address, add_image, methods=["PUT"])

    @router.put("/datastore/label")
    def save_label(
        request: Request,
        background: BackgroundTasks,
        image: Id,
        label: Sent,
        params: Settings = "{}",
        tag: Tag = "final",
    ) -> Any:
        names.image_id(image)
        told = {**names.settings_of(params), "user": sender(request).name}  # who drew it, by token, not by claim
        _examine(label, LABELS, bounds)
        with writing:
            return datastore.save_label(
                background, image, json.dumps(told), names.tag_name(tag or "final"), label, sender(request).name
            )

    @router.put("/datastore/image/info")
    def tell_of_image(request: Request, image: Id, info: Settings = "{}") -> Any:
        names.image_id(image)
        with writing:
            return datastore.update_image_info(image, json.dumps(names.settings_of(info)), sender(request).name)

    @router.put("/datastore/label/info")
    def tell_of_label(request: Request, label: Id, tag: Tag, info: Settings = "{}") -> Any:
        names.label_of(label, tag)
        told = json.dumps(names.settings_of(info))
        with writing:
            return datastore.update_label_info(label, tag, told, sender(request).name)

    return router


def _admins() -> APIRouter:
    from monailabel.endpoints import datastore

    router = APIRouter(route_class=guarded("admin"))

    def remove_image(request: Request, id: Id) -> Any:
        with writing:
            return datastore.remove_image(names.image_id(id), sender(request).name)

    for address in ("/datastore/", "/datastore/image"):
        router.add_api_route(address, remove_image, methods=["DELETE"])

    @router.delete("/datastore/label")
    def remove_label(request: Request, id: Id, tag: Tag) -> Any:
        with writing:
            return datastore.remove_label(names.label_of(id, tag), tag, sender(request).name)

    @router.get("/datastore/dataset")
    def everything(limit_cases: Annotated[int | None, Query(ge=1)] = None) -> Any:
        if not datastore.datastore(datastore.ResultType.train):
            raise Refusal(404, "No image has a final label yet.")
        answer = datastore.download_dataset(limit_cases)
        answer.background = BackgroundTask(os.unlink, answer.path)  # MONAI Label leaves the archive behind
        return answer

    return router


def _examine(upload: UploadFile, kinds: tuple[str, ...], bounds: Bounds) -> str:
    """The ending of an upload that is what it says; MONAI Label then sees a name of ours instead of the caller's."""
    ending = examined(upload.file, upload.filename, kinds=kinds, limit=bounds.unpacked)
    upload.filename = f"upload{ending}"
    return ending
