# SPDX-License-Identifier: Apache-2.0
"""What readers say back, kept beside the images with reader and time; each opinion whole or not at all."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from fedxai.errors import CohortError
from fedxai.intake.volume import Volume
from fedxai.intake.volume_file import read_volume
from fedxai.label.bands import is_band
from fedxai.records import Record
from fedxai.whole_file import write_whole

FOLDER = "feedback"
AGREEMENT = ("disagree", "rather disagree", "rather agree", "agree")  # steps 1 to 4: did it look where it should?
UNKNOWN = "unknown"
_NAMED_WITHOUT_A_LIST = "region"


class Said(Record):
    """What a reader may say besides drawing; it stays in the site."""

    label: str | None = Field(None, max_length=128, description="The right class, by name.")
    agreement: Annotated[int, Field(ge=1, le=len(AGREEMENT))] | None = Field(
        None, description=f"Did the model look where it should: {', '.join(AGREEMENT)} (1 to {len(AGREEMENT)})."
    )
    comment: str | None = Field(None, max_length=10_000, description="Anything else, in own words.")

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Said":
        """The part of what a viewer sends that is said, checked.

        Raises:
            CohortError: a rule is broken.
        """
        try:
            return cls(**{name: told[name] for name in cls.model_fields if told.get(name) not in (None, "")})
        except ValidationError as error:
            first = error.errors()[0]
            raise CohortError(f"{first['loc'][0]} {first['msg'].lower()}.") from None


class Opinion(Said):
    """What one reader says of one image."""

    image: str = Field(description="The image's id in the datastore.")
    reader: str = Field(description="Who, as the server knows the person.")
    time: datetime = Field(description="When, UTC.")
    drawing: str | None = Field(None, description="File of the label map beside this record; None: nothing was drawn.")
    names: dict[str, int] = Field({}, description="Values of the label map by the names that the reader gave.")
    model: str | None = Field(None, description="SHA-256 of the weights of the model that was served then.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """A label map as a viewer sent it, without saliency bands."""

    labels: NDArray[np.uint8]  # (X, Y, Z), on the image's grid
    affine: NDArray[Any]
    names: dict[str, int]

    @classmethod
    def of(cls, labels: NDArray[np.uint8], affine: NDArray[Any], segments: Mapping[int, str] | None) -> "Drawn":
        """Keep what people drew: viewers save every segment they show, bands too, which are dropped by their names.

        Args:
            labels: the map.
            affine: of the image.
            segments: names by value; None: the viewer sent no list, and everything is one region.

        Raises:
            CohortError: a value has no name.
        """
        values = [int(value) for value in np.unique(labels) if value]
        named = dict(segments) if segments else dict.fromkeys(values, _NAMED_WITHOUT_A_LIST)
        nameless = [value for value in values if value not in named]
        if nameless:
            raise CohortError(f"The label map holds {nameless[0]}, which label_info does not name.")
        kept = {value: name for value, name in named.items() if not is_band(name)}
        one = {name: value for value, name in sorted(kept.items(), reverse=True)}
        clean = np.zeros_like(labels)
        for value, name in kept.items():
            clean[labels == value] = one[name]
        return cls(labels=clean, affine=affine, names=one)

    @property
    def region(self) -> NDArray[np.bool_]:
        """Everything that is drawn, whatever its name."""
        return self.labels > 0

    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """By name, where it is drawn."""
        return {name: self.labels == value for name, value in self.names.items()}


class Feedback:
    """Opinions in a folder beside the images, one folder an image; nothing in it is ever changed or replaced.

    Args:
        folder: where; made with the first opinion.
        model: digest of the model that is served now, where there is a server.
    """

    def __init__(self, folder: Path, *, model: Callable[[], str] | None = None) -> None:
        self.folder = folder
        self._model = model

    def add(self, image: str, reader: str, said: Said, drawn: Drawn | None = None) -> Opinion:
        """Keep an opinion: the label map first, under the hash of its content, then the record that names it.

        Raises:
            CohortError: the image's id is no name of a folder.
            OSError: the disk refuses; the opinion is then not there.
        """
        home = self._home(image)
        home.mkdir(parents=True, exist_ok=True)
        drawing = None if drawn is None else Volume(voxels=drawn.labels, affine=drawn.affine).write_into(home)
        opinion = Opinion(
            **said.model_dump(),
            image=image,
            reader=reader or UNKNOWN,
            time=datetime.now(timezone.utc),
            drawing=drawing,
            names=drawn.names if drawn else {},
            model=self._model() if self._model else None,
        )
        who = hashlib.sha256(opinion.reader.encode()).hexdigest()[:8]
        name = f"{opinion.time:%Y%m%dT%H%M%S.%f}-{who}.json"
        write_whole(home / name, (opinion.model_dump_json(indent=1) + "\n").encode())
        return opinion

    def images(self) -> list[str]:
        """Ids of the images that somebody said something about."""
        if not self.folder.is_dir():
            return []
        return sorted(home.name for home in self.folder.iterdir() if any(home.glob("*-*.json")))

    def history(self, image: str) -> list[Opinion]:
        """Everything that was said of an image, oldest first.

        Raises:
            CohortError: a record is damaged.
        """
        found = []
        for file in sorted(self._home(image).glob("*-*.json")):
            try:
                found.append(Opinion.model_validate_json(file.read_bytes()))
            except (OSError, ValidationError) as error:
                raise CohortError("A record of a reader's feedback is damaged; restore or remove it.") from error
        return found

    def opinions(self, image: str) -> list[Opinion]:
        """What each reader says of an image now: of everything said the newest, and of what was drawn the newest."""
        latest: dict[str, Opinion] = {}
        for opinion in self.history(image):
            before = latest.get(opinion.reader)
            told = {name: value for name, value in opinion if value is not None}
            if before and opinion.drawing is None:
                told = {**told, "names": before.names}
            latest[opinion.reader] = before.model_copy(update=told) if before else opinion
        return list(latest.values())

    def drawing(self, opinion: Opinion) -> Drawn | None:
        """What a reader drew.

        Raises:
            CohortError: the file is missing or damaged.
        """
        if opinion.drawing is None:
            return None
        volume = read_volume(self._home(opinion.image) / opinion.drawing, what="drawing")
        return Drawn(labels=volume.voxels, affine=volume.affine, names=opinion.names)

    def keep_scores(self, image: str, scores: Mapping[str, Any]) -> None:
        """Keep what the explanation of an image scores, beside what was said of it."""
        home = self._home(image)
        home.mkdir(parents=True, exist_ok=True)
        write_whole(home / "scores.json", json.dumps(scores, indent=1, allow_nan=False).encode())

    def _home(self, image: str) -> Path:
        if not image or image.startswith(".") or {os.sep, "\\", "\0"} & set(image):
            raise CohortError("An image's id must be the name of a file, without a path.")
        return self.folder / image
