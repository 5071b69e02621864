# SPDX-License-Identifier: Apache-2.0
"""What the app answers beside MONAI Label's addresses: what readers said, saliency as pictures and for the archive."""

import base64
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
from fastapi import APIRouter, Body, Query, Request

from fedxai.errors import CohortError
from fedxai.label import names
from fedxai.label.access import guarded, sender
from fedxai.label.app import reading
from fedxai.label.feedback import AGREEMENT, Feedback, Said
from fedxai.label.readers import agreement
from fedxai.label.refusals import Refusal

Id = Annotated[str, Query(max_length=256)]
Name = Annotated[str, Query(max_length=128)]
Form = Literal["map", "capture"]

_readers, _annotators = APIRouter(route_class=guarded("reader")), APIRouter(route_class=guarded("annotator"))


@_readers.get("/feedback/")
def of_all() -> Any:
    """How much the readers of this site agree, over all images."""
    return agreement(_feedback()).model_dump()


@_readers.get("/feedback/image")
def of_image(image: Id) -> Any:
    """What each reader says of one image, and how much they agree."""
    feedback, image = _feedback(), names.image_id(image)
    said = [opinion.model_dump(mode="json", exclude={"drawing"}) for opinion in feedback.opinions(image)]
    return {"opinions": said, "agreement": agreement(feedback, [image]).model_dump(), "steps": list(AGREEMENT)}


@_annotators.put("/feedback/image")
def say(request: Request, image: Id, told: Annotated[dict[str, Any], Body()]) -> Any:
    """Rate, correct the class or comment, without drawing."""
    unknown = sorted(told.keys() - Said.model_fields.keys())
    if unknown:
        raise CohortError(f"feedback may say {', '.join(Said.model_fields)}, and nothing else")
    said = _app().desk.checked(Said.of(told))
    if not said.model_dump(exclude_none=True):
        raise CohortError(f"feedback must say something: {', '.join(Said.model_fields)}")
    opinion = _feedback().add(names.image_id(image), sender(request).name, said)
    return opinion.model_dump(mode="json", exclude={"drawing"})


def store(model: str, image: str, form: Form = "map", method: str = "", explained_class: str = "") -> dict[str, Any]:
    """Put saliency of an image into the archive, beside its series; with the new series' UID.

    Raises:
        Refusal: 404 for an image or model that is not there, 406 where images lie in a folder, 422 for another model.
    """
    from fedxai.label.stores import ReadersArchive

    task, kept = _looking(model), _app().datastore()
    if not isinstance(kept, ReadersArchive):
        raise Refusal(406, "Saliency is stored in a DICOMweb archive; this server reads a folder of images.")
    saliency, told = task.to_store(_file(image), _asked(image, method, explained_class))
    return {"series": kept.store_saliency(image, saliency, form=form), "form": form, **told}


def show(model: str, image: str, method: str = "", explained_class: str = "") -> dict[str, Any]:
    """Slices of an image with the bands beside them, as PNGs in base64, and what the model says of it.

    Raises:
        Refusal: 404 for an image or model that is not there, 422 for another model.
    """
    pictures, first, told = _looking(model).pictured(_file(image), _asked(image, method, explained_class))
    return {"pictures": [base64.b64encode(one).decode() for one in pictures], "first": first, **told}


def router(workers: anyio.CapacityLimiter) -> APIRouter:
    """The app's addresses.

    Args:
        workers: what explains a case waits for one of them.
    """
    showing, storing = (APIRouter(route_class=guarded(role)) for role in ("reader", "annotator"))

    @showing.post("/infer/{model}/pictures")
    async def show_pictures(model: str, image: Id, method: Name = "", explained_class: Name = "") -> Any:
        return await anyio.to_thread.run_sync(show, model, image, method, explained_class, limiter=workers)

    @storing.post("/infer/{model}/series")
    async def store_series(
        model: str, image: Id, form: Form = "map", method: Name = "", explained_class: Name = ""
    ) -> Any:
        return await anyio.to_thread.run_sync(store, model, image, form, method, explained_class, limiter=workers)

    whole = APIRouter()
    for part in (_readers, _annotators, showing, storing, reading.router):
        whole.include_router(part)
    return whole


def _looking(model: str) -> Any:
    tasks = _app().looking()
    if names.of_app("model", model) not in tasks:
        raise Refusal(422, f"The model must be one that gives saliency: {', '.join(tasks)}.")
    return tasks[model]


def _file(image: str) -> Path:
    return _app().desk.path(names.image_id(image))


def _asked(image: str, method: str, explained_class: str) -> dict[str, Any]:
    from fedxai.label.infer import CLASS, METHOD

    return {METHOD: method, CLASS: explained_class, "image_id": image}


def _app() -> Any:
    from monailabel.interfaces.utils.app import app_instance

    return app_instance()


def _feedback() -> Feedback:
    return _app().feedback
