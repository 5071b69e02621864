# SPDX-License-Identifier: Apache-2.0
"""Which image next: active learning by what the model does not explain, does not know, or sees elsewhere."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import torch
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.tasks.activelearning.random import Random

from fedxai.errors import CohortError, FedxaiError, SettingsError
from fedxai.intake.evenly import evenly
from fedxai.label.archive_store import ArchiveDatastore
from fedxai.label.desk import Answered, Desk
from fedxai.label.scoring import overlaps
from fedxai.score import score_map

MOST = 32  # images that one question looks at


def strategies(desk: Desk) -> dict[str, Strategy]:
    """The strategies of the list, by name."""
    own: Sequence[type[_Worst]] = (LowestExplainability, HighestUncertainty, Disagreement)
    return {"random": Random(), **{kind.name: kind(desk) for kind in own}}


class _Worst(Strategy):
    """Gives the image with the highest weight among at most ``cases`` of the candidates, spread over their list.

    An image that cannot be read does not hold up the others, and is tried again at the next question. A weight is
    computed once for a model and for what is said of the image here and drawn on it in the archive, which is asked once
    a question for all images.
    """

    name: ClassVar[str]
    about: ClassVar[str]

    def __init__(self, desk: Desk) -> None:
        super().__init__(self.about)
        self._desk = desk
        self._known: dict[tuple[object, ...], float] = {}

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> Any:
        """See MONAI Label: the image's id and weight; None when there is no candidate.

        Args:
            request: ``cases``, at most how many are looked at, 1 to ``MOST``.
            datastore: the images.

        Raises:
            SettingsError: ``cases`` is no such number.
        """
        candidates = sorted(self.candidates(datastore))
        chosen = evenly(candidates, _most(request.get("cases", MOST)))
        segs = datastore.segs() if isinstance(datastore, ArchiveDatastore) else {}
        weighed = [(self._weight(image, segs.get(image, frozenset())), image) for image in chosen]
        weighed = [(weight, image) for weight, image in weighed if math.isfinite(weight)]
        if not weighed:
            return None
        weight, image = max(weighed, key=lambda one: one[0])
        return {"id": image, "weight": weight}

    def candidates(self, datastore: Datastore) -> list[str]:
        """Images that nobody has drawn on; where all were, all."""
        return datastore.get_unlabeled_images() or datastore.list_images()

    @abstractmethod
    def weight(self, image: str) -> float:
        """How much an image needs a reader; NaN: unknown."""

    def _weight(self, image: str, segs: frozenset[str]) -> float:
        """A weight, remembered by all that decides it; a failure is not."""
        served = self._desk.served()
        try:
            key = (served.bundle.digest, served.digest, image, len(self._desk.feedback.history(image)), segs)
            if key not in self._known:
                self._known[key] = self.weight(image)
            return self._known[key]
        except FedxaiError:
            return math.nan


def _most(cases: Any) -> int:
    if isinstance(cases, bool) or not isinstance(cases, int) or not 1 <= cases <= MOST:
        raise SettingsError(f"cases must be a whole number from 1 to {MOST}, got {cases!r}")
    return cases


class _Looking(_Worst):
    """Weighs an image by where the model looks."""

    def looked(self, image: str) -> Answered:
        """By the bundle's first method, scored where a reader drew."""
        served = self._desk.served()
        prepared = self._desk.prepare(served, self._desk.path(image), self._desk.drawn(served, image))
        return self._desk.look(served, prepared, self._desk.methods()[0])


class LowestExplainability(_Looking):
    """The image whose explanation says least.

    Where a reader drew: ``1 - E``. Where nobody did E is not defined, and the weight is ``1 - Gini(|S|)``: relevance
    that is spread over the whole image points nowhere.

    Source of the Gini index as a measure of explanations: Chalasani et al. 2020, arXiv:1810.06583.
    """

    name = "lowest_explainability"
    about = "The image whose saliency says least: lowest E, or spread over the whole image"

    def weight(self, image: str) -> float:
        """See the class."""
        answered = self.looked(image)
        if answered.region is not None:
            e = answered.scores["relevance_mass"]
            return math.nan if e is None else 1 - e
        nowhere = torch.zeros_like(answered.looked.relevance, dtype=torch.bool)
        return 1 - float(score_map(answered.looked.relevance[None], nowhere[None])["gini"][0])


class HighestUncertainty(_Worst):
    """The image that the model knows least: ``H = -sum_k p_k log p_k / log K``, of a segmentation its mean over voxels.

    Source: Settles 2009, Active Learning Literature Survey (entropy sampling).
    """

    name = "highest_uncertainty"
    about = "The image whose classes the model is least sure of"

    def weight(self, image: str) -> float:
        """See the class."""
        served = self._desk.served()
        shares = served.logits(served.prepare(self._desk.path(image))).double().softmax(dim=0)
        entropy = torch.special.entr(shares).sum(dim=0) / math.log(len(shares))
        return float(entropy.mean())


class Disagreement(_Looking):
    """The image where saliency and what readers drew lie furthest apart: ``1 - IoU(high band, region)``.

    Candidates are images that somebody drew on here, of those the ones that the fewest drew on: a second reader says
    who is right.
    """

    name = "saliency_disagrees_with_region"
    about = "The image where saliency and the readers' region lie furthest apart, for another reader"

    def candidates(self, datastore: Datastore) -> list[str]:
        """See the class."""
        drew = {image: self._drew(image) for image in {*self._desk.feedback.images()} & {*datastore.list_images()}}
        drawn = {image: count for image, count in drew.items() if count}
        return [image for image, count in drawn.items() if count == min(drawn.values())]

    def _drew(self, image: str) -> int:
        """How many readers drew on an image here; 0 where a record is damaged."""
        with suppress(CohortError):
            return sum(opinion.drawing is not None for opinion in self._desk.feedback.opinions(image))
        return 0

    def weight(self, image: str) -> float:
        """See the class."""
        answered = self.looked(image)
        if answered.region is None:
            return math.nan
        return 1 - overlaps(answered.looked.relevance, answered.region)["iou saliency high"]
