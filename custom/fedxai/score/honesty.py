# SPDX-License-Identifier: Apache-2.0
"""The honesty battery: whether a model that scores a high E also decides by what lies in the region."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedxai.combine.intervals import case_mean
from fedxai.explain import Question, explain_batch
from fedxai.explain.body import body
from fedxai.explain.hard_gate import softened
from fedxai.explain.occlusion import Occlusion
from fedxai.explain.one_batch import device_of
from fedxai.records import Figure, Honesty
from fedxai.score.answers import logits
from fedxai.score.imputation import impute
from fedxai.score.regions import MARGIN, Regions
from fedxai.score.sample import Sample
from fedxai.score.score import share_inside

_PARTS = 16


class HonestyBattery:
    """Questions to a model about cases with a region, each an average over cases with its interval.

    The answer of a classification is the predicted class and its probability. That of a segmentation is what is
    segmented as the case's class, and the mean probability of that class there; a prediction kept is then the Dice
    overlap of what is segmented before and after. Both are :class:`~fedxai.explain.Question`'s.

    - ``occlusion_mass``: E of the occlusion map, in windows of a 16th of an image's shorter side (a quarter of a
      volume's axes).
    - ``occlusion_ceiling``: the occlusion mass of a model that adds up the region's pixels and sees nothing else.
      It is below 1, because a window that hides some of the region also hides what is around.
    - ``drop_region``, ``drop_elsewhere``: fall of that probability when the region, or a region of
      its shape elsewhere in the body, is filled from its surroundings.
    - ``drop_grey``: the same fall when the region is filled with its own mean, so that shape and place are all
      that is left.
    - ``swap_kept``: share of predictions kept when all outside the region and its margin of 5 mm (by the batch's
      spacing, else a voxel counts as 1 mm) is another patient's, whose own region is filled from its surroundings; not
      asked where the image before it is the same patient's, or of another size.
    - ``blank_kept``: share kept when all outside is black.
    - ``soft_mass``: E of gradient x input through the soft path of a network with a hard gate
      (:func:`~fedxai.explain.hard_gate.softened`); of other networks not asked.

    Args:
        network: maps images to logits ``(B, K)``, or in a segmentation ``(B, K, *cells)``; left as it was.
        limit: at most so many cases are asked about, drawn at random over patients from all that have a region.
        of_class: of a segmentation, the class whose cases are asked about.
        black: the lower end of the network's input range, with which occlusion and blanking hide.
        seed: of the cases and places that are drawn.
    """

    def __init__(
        self, network: nn.Module, *, limit: int, of_class: int | None = None, black: float = 0.0, seed: int = 0
    ) -> None:
        self.passes = 0
        self._network = network
        self._of_class, self._black = of_class, black
        self._sample = Sample(limit, seed=seed, with_region=True)
        self._random = np.random.default_rng(seed)
        self.values: dict[str, list[float]] = defaultdict(list)
        self.groups: list[str] = []
        self._partner: tuple[Tensor, str] | None = None

    def add(self, batch: Mapping[str, Any]) -> None:
        """Look at the cases of a batch that have a region; those that are drawn are kept.

        Args:
            batch: as for :func:`~fedxai.score.examine.examine`.
        """
        self._sample.add(batch, torch.as_tensor(batch["label"]).flatten(), only=self._of_class)

    def result(self) -> Honesty | None:
        """Ask, and the figures; None where no case could be asked."""
        self.ask()
        return figures_of([self])

    def ask(self) -> None:
        """Ask about the kept cases one by one, after all batches were added."""
        if self.groups:
            return  # they were asked about
        for case in self._sample.cases:
            assert case.region is not None, "the sample is of cases with a region"
            image, region, group = case.image.float()[None], case.region[None], str(case.group)
            filled, before = _filled(image, region), self._partner
            another = before is not None and (not group or before[1] != group)  # without a name each is a patient
            partner = before[0] if before and another and before[0].shape == filled.shape else None
            self.groups.append(group)
            self._ask(image, region, filled, partner, case.spacing)
            self._partner = (filled, group)

    def _ask(
        self, image: Tensor, region: Tensor, filled: Tensor, partner: Tensor | None, spacing: Tensor | None
    ) -> None:
        around = Regions.of(region, spacing).grown(MARGIN).reshape(region.shape)
        moved = self._elsewhere(image, around, region)
        elsewhere = _filled(image, moved)
        axes = tuple(range(2, image.ndim))
        own_mean = (image * region).sum(dim=axes, keepdim=True) / region.sum()  # of each channel
        grey = torch.where(region, own_mean, image)
        swapped = image if partner is None else torch.where(around, image, partner)
        blank = torch.where(around, image, self._black)
        questions = torch.cat([image, filled, elsewhere, grey, swapped, blank])
        answers = logits(self._network, questions.to(device_of(self._network))).cpu()
        question = Question.about(answers[:1], None if self._of_class is None else torch.tensor([self._of_class]))
        before, *after = question.of_case(0, 4).probability(answers[:4])
        swap, blank = question.of_case(0, 2).kept(answers[4:])
        values = dict(zip(("drop_region", "drop_elsewhere", "drop_grey"), (before - p for p in after), strict=True))
        values |= {"swap_kept": swap, "blank_kept": blank}
        unknown = {"drop_elsewhere": not moved.any(), "swap_kept": partner is None}
        for name, value in values.items():
            self.values[name].append(float("nan") if unknown.get(name) else float(value))
        ask = {"targets": question.classes, "methods": [_occlusion(image)], "black": self._black}
        occluded = explain_batch(self._network, image, **ask)
        self.passes += 1 + occluded.passes + occluded.forwards
        reached = explain_batch(_AddsUp(), region.float(), targets=0, methods=[_occlusion(image)])
        mass, ceiling = (_share(found.maps["occlusion"], region) for found in (occluded, reached))
        self._ask_gate(image, region, question)
        self.values["occlusion_mass"].append(mass)
        self.values["occlusion_ceiling"].append(ceiling if math.isfinite(mass) else mass)

    def _ask_gate(self, image: Tensor, region: Tensor, question: Question) -> None:
        with softened(self._network) as gated:
            if not gated:
                return
            found = explain_batch(self._network, image, targets=question.classes, methods=["gradient_x_input"])
        self.passes += found.passes
        self.values["soft_mass"].append(_share(found.maps["gradient_x_input"], region))

    def _elsewhere(self, image: Tensor, around: Tensor, region: Tensor) -> Tensor:
        """The region's shape at a random place of the body that the region does not touch; empty if there is none."""
        free = body(image, self._black) & ~around
        axes = tuple(range(2, image.ndim))
        ends = [(int(at.min()), int(at.max())) for at in region.nonzero(as_tuple=True)[2:]]
        room = [(-first, size - last) for (first, last), size in zip(ends, image.shape[2:], strict=True)]
        best, overlap = torch.zeros_like(region), 0.5
        for _ in range(30):
            shifts = tuple(int(self._random.integers(*between)) for between in room)  # in one piece, so none wraps
            moved = torch.roll(region, shifts, axes)
            share = float(free[moved].float().mean())
            if share > overlap and not bool((moved & around).any()):
                best, overlap = moved, share
        return best


def figures_of(batteries: Sequence[HonestyBattery]) -> Honesty | None:
    """The figures over the cases of all batteries; None where no case could be asked."""
    groups = [group for battery in batteries for group in battery.groups]
    if not groups:
        return None
    figures: dict[str, Figure] = {}
    for name in dict.fromkeys(name for battery in batteries for name in battery.values):
        values = np.array([value for battery in batteries for value in battery.values[name]])
        figures[name] = case_mean(values, groups)
    return Honesty(cases=len(groups), figures=figures)


class _AddsUp(nn.Module):
    """A model whose logit is the sum of its input: given the region, it sees the region's pixels and nothing else."""

    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1).sum(dim=1, keepdim=True)


def _occlusion(image: Tensor) -> Occlusion:
    """Windows of a sixteenth of an image's shorter side; those of a volume are the method's own, for their number."""
    if image.ndim > 4:
        return Occlusion()
    return Occlusion(window=max(1, min(image.shape[2:]) // _PARTS))


def _share(attribution: Tensor, region: Tensor) -> float:
    """E of one map, with the absolute value of its sum over channels."""
    mass = attribution.sum(dim=1).double().abs().flatten(1).cpu()
    return float(share_inside(mass, region.flatten(1)))


def _filled(image: Tensor, hidden: Tensor) -> Tensor:
    """The image with what is hidden filled from its surroundings, without noise."""
    return impute(image, hidden, torch.zeros_like(image))
