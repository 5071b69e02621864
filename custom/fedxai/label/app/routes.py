# SPDX-License-Identifier: Apache-2.0
"""What the app answers beside MONAI Label's addresses: what readers said of an image, and how much they agree."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request

from fedxai.errors import CohortError
from fedxai.label import names
from fedxai.label.access import guarded, sender
from fedxai.label.feedback import AGREEMENT, Feedback, Said
from fedxai.label.readers import agreement

Id = Annotated[str, Query(max_length=256)]

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


def _app() -> Any:
    from monailabel.interfaces.utils.app import app_instance

    return app_instance()


def _feedback() -> Feedback:
    return _app().feedback


router = APIRouter()
router.include_router(_readers)
router.include_router(_annotators)
