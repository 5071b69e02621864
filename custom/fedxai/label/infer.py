# SPDX-License-Identifier: Apache-2.0
"""What viewers ask for, one model of the list each: the prediction, saliency as bands, the heat map as numbers."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monailabel.interfaces.tasks.infer_v2 import InferTask
from numpy.typing import NDArray

from fedxai.errors import CohortError
from fedxai.explain import METHODS
from fedxai.label.bands import NAMES, QUANTILES, bands
from fedxai.label.desk import Answered, Desk
from fedxai.label.grids import read_image, write_answer
from fedxai.label.pictures import Pictures, pictures
from fedxai.label.served import Prepared, Served
from fedxai.report.dicom_saliency import SaliencyMap

PREDICTION, SALIENCY, HEAT_MAP = "prediction", "saliency", "heat_map"
METHOD, CLASS = "saliency_method", "explained_class"


def tasks(desk: Desk) -> dict[str, InferTask]:
    """The models of the list, by name; a bundle is served as three.

    Args:
        desk: the model and the cases.
    """
    return {PREDICTION: Prediction(desk), SALIENCY: Saliency(desk), HEAT_MAP: HeatMap(desk)}


class _Asked(InferTask):
    """Answers with the model that is served at that moment, and says which it was."""

    kind: str
    description_: str

    def __init__(self, desk: Desk) -> None:
        served = desk.served()
        super().__init__(self.kind_of(served), self.labels_of(served), served.dimension, self.description_)
        self._desk = desk
        self._methods = desk.methods()

    def is_valid(self) -> bool:
        """See MONAI Label: whether it can be asked; a model was there when the server began."""
        return True

    def info(self) -> dict[str, Any]:
        """See MONAI Label; with the model that is served now."""
        served = self._desk.served()
        trouble = self._desk.watch.trouble
        about = {**super().info(), "labels": self.labels_of(served), "model": served.identity}
        return {**about, "not_served": trouble} if trouble else about

    def kind_of(self, served: Served) -> str:
        """MONAI Label's type."""
        del served
        return self.kind

    def labels_of(self, served: Served) -> dict[str, int]:
        """Values of the label map by name."""
        del served
        return {name: value for value, name in enumerate(NAMES, start=1)}

    def __call__(self, request: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """See MONAI Label: the path of a file, and what is said beside it."""
        path = request.get("image")
        if not isinstance(path, str) or Path(path).is_dir():
            raise CohortError("An image must be one file here; convert a series of DICOM files first.")
        served = self._desk.served()
        return self.answer(served, Path(path), request)

    @abstractmethod
    def answer(self, served: Served, image: Path, request: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """The answer of this kind."""

    def written(self, values: NDArray[Any], served: Served, prepared: Prepared, request: Mapping[str, Any]) -> str:
        """A file of the answer, in the format that was asked for."""
        extension = str(request.get("result_extension") or ".nrrd")
        return str(write_answer(values, served.affine_of(prepared), extension))


class Prediction(_Asked):
    """Class probabilities, or what the network segments as a label map on the image's grid."""

    description_ = "What the model sees: probabilities of the classes, or its segmentation"

    def kind_of(self, served: Served) -> str:
        """MONAI Label's type: what classifies is listed by neither Slicer nor OHIF, and asked over REST."""
        return served.bundle.task

    def labels_of(self, served: Served) -> dict[str, int]:
        """The classes; of a segmentation those above the background."""
        names = served.bundle.class_names
        return {name: value for value, name in enumerate(names) if value or not served.segments}

    def answer(self, served: Served, image: Path, request: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """See the class."""
        prepared = served.prepare(image)
        probabilities = served.logits(prepared).softmax(dim=0)
        if not served.segments:
            return None, {**_about(served), **classified(served, probabilities)}
        on_image = np.stack([served.onto_image(one[None], prepared, nearest=False) for one in probabilities])
        segmented = on_image.argmax(axis=0).astype(np.uint8)
        told = {
            "label_names": self.labels_of(served),
            "voxels": {name: int((segmented == value).sum()) for name, value in self.labels_of(served).items()},
        }
        return self.written(segmented, served, prepared, request), {**_about(served), **told}


class Looking(_Asked):
    """Where the network looks, by a method of the registry, with E where a region is drawn."""

    def config(self) -> dict[str, Any]:
        """The settings that viewers offer: the first method is the default one."""
        return {METHOD: self._methods, CLASS: ""}

    def answered(self, served: Served, image: Path, request: Mapping[str, Any]) -> Answered:
        """The map and what is known of it."""
        method = request.get(METHOD) or self._methods
        method = method[0] if isinstance(method, list) else str(method)
        METHODS.make(method)
        target = served.class_of(request.get(CLASS))
        known = request.get("image_id")
        drawn = self._desk.drawn(served, known) if known else ()
        return self._desk.look(served, self._desk.prepare(served, image, drawn), method, target=target)

    def told(self, served: Served, answered: Answered) -> dict[str, Any]:
        """What is said beside the map."""
        about = {**_about(served), "method": answered.method, "scores": answered.scores, "chance": answered.chance}
        about[CLASS] = served.bundle.class_names[answered.looked.target]
        if served.segments:
            return about
        return {**about, **classified(served, served.logits(answered.prepared).softmax(dim=0))}

    def pictured(self, image: Path, request: Mapping[str, Any]) -> tuple[Pictures, dict[str, Any]]:
        """Pictures of the bands, and what is said beside them."""
        served = self._desk.served()
        answered = self.answered(served, image, request)
        return pictures(read_image(image), self.banded(served, answered)), self.told(served, answered)

    def banded(self, served: Served, answered: Answered) -> NDArray[np.uint8]:
        """The bands on the image's grid."""
        values = bands(answered.looked.relevance).float()
        return served.onto_image(values, answered.prepared, nearest=True).astype(np.uint8)

    def to_store(self, image: Path, request: Mapping[str, Any]) -> tuple[SaliencyMap, dict[str, Any]]:
        """The map as an archive keeps it, on the image's grid, and what is said beside it."""
        served = self._desk.served()
        answered = self.answered(served, image, request)
        e = answered.scores.get("relevance_mass")
        saliency = SaliencyMap(
            values=served.onto_image(answered.looked.relevance, answered.prepared, nearest=False).astype(np.float32),
            affine=served.affine_of(answered.prepared),
            method=answered.method,
            target=served.bundle.class_names[answered.looked.target],
            model=served.digest,
            e=e,
            chance=None if e is None else answered.chance["relevance_mass"],
        )
        return saliency, self.told(served, answered)


class Saliency(Looking):
    """Saliency as quantile bands low, mid and high: a label map that stock viewers show."""

    kind = "segmentation"
    description_ = "Where the model looked: bands of low, mid and high relevance"

    def answer(self, served: Served, image: Path, request: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """See the class."""
        answered = self.answered(served, image, request)
        values = self.banded(served, answered)
        told = {"label_names": self.labels_of(served), "quantiles": dict(zip(NAMES, QUANTILES, strict=True))}
        return self.written(values, served, answered.prepared, request), {**self.told(served, answered), **told}


class HeatMap(Looking):
    """The map itself, signed, in float32 on the image's grid."""

    kind = "others"
    description_ = "Where the model looked: the map as numbers"

    def answer(self, served: Served, image: Path, request: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """See the class."""
        answered = self.answered(served, image, request)
        values = served.onto_image(answered.looked.relevance, answered.prepared, nearest=False).astype(np.float32)
        return self.written(values, served, answered.prepared, request), self.told(served, answered)


def classified(served: Served, probabilities: torch.Tensor) -> dict[str, Any]:
    """Probabilities by class, and the likeliest class."""
    names = served.bundle.class_names
    by_class = dict(zip(names, (float(value) for value in probabilities), strict=True))
    return {"probabilities": by_class, "predicted": names[int(probabilities.argmax())]}


def _about(served: Served) -> dict[str, Any]:
    return {"model": served.identity}
