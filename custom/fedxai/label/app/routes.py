# SPDX-License-Identifier: Apache-2.0
"""What the app answers beside MONAI Label's addresses: what readers said, saliency as pictures and for the archive."""

import base64
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import anyio
from fastapi import APIRouter, Body, Query, Request

from fedxai.errors import CohortError
from fedxai.intake.volume import Volume
from fedxai.label import names
from fedxai.label.access import guarded, sender
from fedxai.label.app import reading
from fedxai.label.feedback import AGREEMENT, Feedback, Said
from fedxai.label.grids import read_image
from fedxai.label.pictures import Outline, outlined, outlines_of
from fedxai.label.readers import agreement
from fedxai.label.refusals import Refusal
from fedxai.label.routes_cases import writing

Id = Annotated[str, Query(max_length=256)]
Name = Annotated[str, Query(max_length=128)]
Form = Literal["map", "capture"]
OUTLINES = "outlines"

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
    """Rate, correct the class, comment, or outline regions on the pictures of ``show``."""
    may_say = (*Said.model_fields, OUTLINES)
    if told.keys() - set(may_say):
        raise CohortError(f"feedback may say {', '.join(may_say)}, and nothing else")
    said, reader = _app().desk.checked(Said.of(told)), sender(request).name
    if OUTLINES in told:
        _keep_drawing(names.image_id(image), reader, said, outlines_of(told[OUTLINES]))
        opinion = next(one for one in _feedback().opinions(image) if one.reader == reader)
    elif said.model_dump(exclude_none=True):
        opinion = _feedback().add(names.image_id(image), reader, said)
    else:
        raise CohortError(f"feedback must say something: {', '.join(may_say)}")
    return opinion.model_dump(mode="json", exclude={"drawing"})


def store(model: str, image: str, form: Form = "map", method: str = "", explained_class: str = "") -> dict[str, Any]:
    """Put saliency of an image into the archive, beside its series; with the new series' UID.

    Raises:
        Refusal: 404 for an image or model that is not there, 406 where images are no DICOM series, 422 for another
            model.
    """
    from fedxai.label.stores import ReadersArchive

    task, kept = _looking(model), _app().datastore()
    if not isinstance(kept, ReadersArchive):
        raise Refusal(406, "Saliency is stored beside a DICOM series; this server reads a folder of images.")
    saliency, told = task.to_store(_file(image), _asked(image, method, explained_class))
    return {"series": kept.store_saliency(image, saliency, form=form), "form": form, **told}


def show(model: str, image: str, method: str = "", explained_class: str = "") -> dict[str, Any]:
    """Slices of an image with the bands beside them, as PNGs in base64, and what the model says of it.

    Raises:
        Refusal: 404 for an image or model that is not there, 422 for another model.
    """
    shown, told = _looking(model).pictured(_file(image), _asked(image, method, explained_class))
    pngs = [base64.b64encode(one).decode() for one in shown.pngs]
    return {"pictures": pngs, "first": shown.first, "share": shown.share, **told}


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


def _keep_drawing(image: str, reader: str, said: Said, outlines: Sequence[Outline]) -> None:
    """Save what was outlined as a viewer saves what was drawn."""
    volume = read_image(_file(image))
    labels, values = outlined(outlines, volume)
    segments = [{"name": name, "idx": value} for name, value in values.items()]
    with TemporaryDirectory(prefix="fedxai-") as private:
        file = Path(private) / "label.nii.gz"
        Volume(voxels=labels, affine=volume.affine).write(file)
        info = {**said.model_dump(exclude_none=True), "user": reader, "label_info": segments}
        with writing:
            _app().datastore().save_label(image, str(file), "final", info)


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
