# SPDX-License-Identifier: Apache-2.0
"""Which image next: active learning by what the model does not explain, does not know, or sees elsewhere."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.tasks.activelearning.random import Random

from fedxai.errors import FedxaiError, SettingsError
from fedxai.intake.evenly import evenly
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

    An image that cannot be read does not hold up the others.
    """

    name: ClassVar[str]
    about: ClassVar[str]

    def __init__(self, desk: Desk) -> None:
        super().__init__(self.about)
        self._desk = desk
        self._known: dict[tuple[str, str, str], float] = {}

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
        weighed = [(self._weight(image), image) for image in chosen]
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

    def _weight(self, image: str) -> float:
        """A weight, computed once for a model and what is known of the image."""
        drawn = len(self._desk.feedback.history(image))
        key = (self._desk.served().digest, image, str(drawn))
        if key not in self._known:
            try:
                self._known[key] = self.weight(image)
            except FedxaiError:
                self._known[key] = math.nan
        return self._known[key]


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

    Candidates are images that somebody drew on, of those the ones with the fewest readers: a second reader says who
    is right.
    """

    name = "saliency_disagrees_with_region"
    about = "The image where saliency and the readers' region lie furthest apart, for another reader"

    def candidates(self, datastore: Datastore) -> list[str]:
        """See the class."""
        there = set(datastore.list_images())
        readers = {image: len(self._desk.feedback.opinions(image)) for image in self._desk.feedback.images()}
        drawn = {image: count for image, count in readers.items() if image in there}
        return [image for image, count in drawn.items() if count == min(drawn.values())]

    def weight(self, image: str) -> float:
        """See the class."""
        answered = self.looked(image)
        if answered.region is None:
            return math.nan
        return 1 - overlaps(answered.looked.relevance, answered.region)["iou saliency high"]
