# SPDX-License-Identifier: Apache-2.0
"""What a caller may name: images, labels, tags and models that exist, and settings that name no files."""

import json
import re
from typing import Any

from fedxai.label.refusals import NotFound, Refusal

SETTINGS_LIMIT = 256 * 1024  # characters of JSON
_TEXT_LIMIT = 10_000
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,63}(\.[A-Za-z0-9 _-]{1,63})*")
SESSION = r"^$|^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_UID = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40}){1,40}")
_NEW_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}(\.[A-Za-z0-9_-]{1,127})*")
_EXTENSIONS = (".nii", ".nii.gz", ".nrrd", ".json", ".png")
# Read by MONAI Label's tasks as files, folders or images, or passed on to a process that it starts.
_FILES = frozenset(
    (
        *("image", "images", "image_path", "label", "model", "session", "session_id", "file", "path", "dataset"),
        *("datastore", "bundle_path", "model_filename", "pretrained_path", "publish_path", "output_dir"),
        *("method", "strategy"),
    )
)


def image_id(name: str) -> str:
    """An image of the datastore.

    Raises:
        NotFound: when it has none of that id; the name is looked up, never opened.
    """
    if not holds(_store(), name):
        raise NotFound("image")
    return name


def holds(store: Any, name: str) -> bool:
    """Whether a datastore has an image of that id; an archive is asked for it alone."""
    from fedxai.label.archive_store import ArchiveDatastore

    return store.has(name) if isinstance(store, ArchiveDatastore) else name in set(store.list_images())


def label_of(name: str, tag: str) -> str:
    """The image of a label that is there under a tag; in MONAI Label's own archive a label is a series with a UID.

    Raises:
        NotFound: when there is no such image, or no label of it under that tag.
        Refusal: 422 when the tag is no plain name.
    """
    tag_name(tag)
    from monailabel.datastore.dicom import DICOMWebDatastore

    store = _store()
    theirs = isinstance(store, DICOMWebDatastore) and _UID.fullmatch(name)
    if not theirs and not (holds(store, name) and store.get_label_uri(name, tag)):
        raise NotFound("label")
    return name


def new_image_id(name: str) -> str:
    """An id for an image that is new to the datastore.

    Raises:
        Refusal: 422 when it is no plain name, 409 when there is such an image.
    """
    if not _NEW_ID.fullmatch(name):
        raise Refusal(422, "An image's id is of letters, digits, dot, dash and underscore.")
    if holds(_store(), name):
        raise Refusal(409, "There is an image of that id; an admin removes it first.")
    return name


def tag_name(tag: str) -> str:
    """A tag under which labels are kept: it becomes the name of a folder.

    Raises:
        Refusal: 422 when it is no plain name.
    """
    if not _TAG.fullmatch(tag):
        raise Refusal(422, "A label's tag is of letters, digits, space, dash and underscore.")
    return tag


def of_app(kind: str, name: str) -> str:
    """A model, trainer, strategy or scoring method that the app has.

    Raises:
        NotFound: when it has none of that name.
    """
    held = {
        "model": "_infers",
        "trainer": "_trainers",
        "strategy": "_strategies",
        "scoring method": "_scoring_methods",
    }[kind]
    if name not in getattr(_app(), held):
        raise NotFound(kind)
    return name


def kind_of(model: str) -> str:
    """What MONAI Label calls a model's task.

    Raises:
        NotFound: when the app has no such model.
    """
    return _app()._infers[of_app("model", model)].type


def session(identity: str) -> str:
    """A session that somebody opened with an image of their own.

    Raises:
        NotFound: when there is none, or it has ended.
    """
    sessions = _app().sessions()
    if not re.fullmatch(SESSION, identity) or not identity or not (sessions and sessions.get_session(identity)):
        raise NotFound("session")
    return identity


def settings_of(text: str | None) -> dict[str, Any]:
    """A JSON object that a caller sent, within bounds.

    Raises:
        Refusal: 422 when it is not one, or too large or deep.
    """
    if text is not None and len(text) > SETTINGS_LIMIT:
        raise Refusal(413, "The settings of a request are larger than this server takes.")
    try:
        found = json.loads(text or "{}", parse_constant=_not_a_number)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refusal(422, "The settings of a request must be a JSON object.")
    return found


def task_settings(found: dict[str, Any] | None) -> dict[str, Any]:
    """Settings of a prediction, training or score, none of which may name a file.

    Raises:
        Refusal: 422 when one does.
    """
    found = found or {}
    named = sorted(_FILES & found.keys())
    if named:
        raise Refusal(422, f"The setting {named[0]!r} cannot be given; images and models are named in the address.")
    if "label_tag" in found:
        tag_name(str(found["label_tag"]))
    if found.get("result_extension") not in (None, "", *_EXTENSIONS):
        raise Refusal(422, f"result_extension must be one of {', '.join(_EXTENSIONS)}.")
    if any(set("/\\\0") & set(text) or len(text) > _TEXT_LIMIT for text in _texts(found)):
        raise Refusal(422, "A setting of a task must not hold a slash, as in a path, nor a very long text.")
    return found


def without_paths(answer: Any) -> Any:
    """An answer of MONAI Label without the server's own paths."""
    if isinstance(answer, dict):
        return {key: without_paths(value) for key, value in answer.items() if key not in ("path", "base_path")}
    return [without_paths(value) for value in answer] if isinstance(answer, list) else answer


def _texts(value: Any, depth: int = 0) -> list[str]:
    if depth > 20:
        raise Refusal(422, "The settings of a request are nested too deeply.")
    if isinstance(value, str):
        return [value]
    parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in _texts(part, depth + 1)]


def _not_a_number(text: str) -> None:
    raise ValueError(text)


def _app() -> Any:
    from monailabel.interfaces.utils.app import app_instance

    return app_instance()


def _store() -> Any:
    return _app().datastore()
