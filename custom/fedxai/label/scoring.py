# SPDX-License-Identifier: Apache-2.0
"""How well saliency meets what readers drew, through MONAI Label's scoring: E, pointing, overlap of the bands."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod
from torch import Tensor

from fedxai.combine.intervals import case_mean
from fedxai.errors import CohortError, ExplanationError, SettingsError
from fedxai.explain import METHODS
from fedxai.label.bands import NAMES, bands
from fedxai.label.desk import Answered, Desk
from fedxai.label.served import Prepared, Served

EXPLANATIONS = "explanations"
_SCORES = ("relevance_mass", "pointing_game", "iou_fixed")


def scoring_methods(desk: Desk) -> dict[str, ScoringMethod]:
    """The scoring methods of the list, by name."""
    return {EXPLANATIONS: Explanations(desk)}


class Explanations(ScoringMethod):
    """Scores every image that somebody drew on, for the model that is served now.

    Of each saliency method: E (``relevance_mass``, Eq. 5 with |S|) beside its chance level, the pointing game, the
    overlap with the most relevant twentieth (``iou_fixed``), and that of each band with everything above it.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__("E, pointing game and overlap of the saliency bands with what readers drew")
        self._desk = desk

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> Any:
        """See MONAI Label.

        Args:
            request: ``methods``, names of saliency methods as a list or with commas; default: the bundle's own.
            datastore: the images.

        Raises:
            CohortError: nobody drew on an image yet.
            ExplanationError: a method is unknown or can explain none of the images; an image that it cannot explain is
                left out of its figures.
            SettingsError: ``methods`` are no names.
        """
        served = self._desk.served()
        methods = _methods(request.get("methods"), served)
        rows: dict[str, dict[str, list[float]]] = {method: defaultdict(list) for method in methods}
        images: dict[str, list[str]] = {method: [] for method in methods}
        refused: dict[str, ExplanationError] = {}
        drawn_on = {*self._desk.feedback.images(), *datastore.get_labeled_images()} & set(datastore.list_images())
        for image in sorted(drawn_on):
            drawn = self._desk.drawn(served, image)
            prepared = self._desk.prepare(served, self._desk.path(image), drawn) if drawn else None
            if not prepared or not prepared.regions:
                continue
            of_image = self._of_image(served, prepared, methods, refused)
            for method, found in of_image.items():
                images[method].append(image)
                for name in found[0]:
                    rows[method][name].append(float(np.nanmean([row[name] for row in found])))
            self._desk.feedback.keep_scores(image, {"model": served.identity, "methods": _first(of_image)})
        for method, error in refused.items():
            if not images[method]:
                raise error
        scored = {image for of_method in images.values() for image in of_method}
        if not scored:
            raise CohortError("There is nothing to score: no reader drew on an image yet.")
        figures = {
            method: {
                name: case_mean(np.array(values), images[method], seed=0).model_dump()
                for name, values in by_name.items()
            }
            for method, by_name in rows.items()
        }
        return {"model": served.identity, "images": len(scored), "methods": figures}

    def _of_image(
        self, served: Served, prepared: Prepared, methods: Sequence[str], refused: dict[str, ExplanationError]
    ) -> dict[str, list[dict[str, float]]]:
        """By method that can explain this image, its rows; why another cannot goes into ``refused``."""
        found = {}
        for method in methods:
            try:
                found[method] = list(self._rows(served, prepared, method))
            except ExplanationError as error:
                refused[method] = error
        return found

    def _rows(self, served: Served, prepared: Prepared, method: str) -> Iterator[dict[str, float]]:
        """One row, of a segmentation one for each class that was drawn."""
        for target in prepared.regions if served.segments else (None,):
            answered = self._desk.look(served, prepared, method, target=target)
            if answered.region is not None:
                yield _row(answered, answered.region)


def overlaps(relevance: Tensor, region: Tensor) -> dict[str, float]:
    """``|B_b and R| / |B_b or R|`` of each band together with those above it, and a region that is not empty.

    Args:
        relevance: ``(1, *spatial)``.
        region: ``(1, *spatial)``, boolean.

    Example:
        >>> import torch
        >>> relevance = torch.arange(100.0).reshape(1, 100)
        >>> overlaps(relevance, relevance >= 80)["iou saliency low"]
        1.0
    """
    banded = bands(relevance)
    found = {}
    for value, name in enumerate(NAMES, start=1):
        band = banded >= value
        found[f"iou {name}"] = float((band & region).sum() / (band | region).sum())
    return found


def _row(answered: Answered, region: Tensor) -> dict[str, float]:
    scores = {name: _number(answered.scores[name]) for name in _SCORES}
    level = {"chance": _number(answered.chance["relevance_mass"])}
    return {**scores, **level, **overlaps(answered.looked.relevance, region)}


def _methods(asked: Any, served: Served) -> list[str]:
    names = asked.split(",") if isinstance(asked, str) else asked or served.bundle.explain.methods
    if not isinstance(names, (list, tuple)):
        raise SettingsError(f"methods must be names of saliency methods, got {asked!r}")
    chosen = [str(name).strip() for name in names]
    for name in chosen:
        METHODS.make(name)
    return chosen


def _first(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """For one image's own record: a list a method, what is not defined as null."""
    return {
        method: [{name: value if math.isfinite(value) else None for name, value in row.items()} for row in found]
        for method, found in rows.items()
    }


def _number(value: float | None) -> float:
    return math.nan if value is None else value
