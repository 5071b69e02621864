# SPDX-License-Identifier: Apache-2.0
"""The costly questions: trust tests and honesty battery for a few cases, of a segmentation for a few of each class."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from fedxai.explain import Method, able
from fedxai.records import Honesty
from fedxai.score.asked import Asked
from fedxai.score.honesty import HonestyBattery, figures_of
from fedxai.score.model_score import score_model
from fedxai.score.sample import Sample
from fedxai.score.tally import Tally

_TOGETHER = 8  # images in memory at once
Tallies = Mapping[str, Tally]


class CostlyQuestions:
    """Chooses cases while batches go by, then asks the network about them again.

    Args:
        network: maps images to logits; left as it was.
        classes: of a segmentation, the classes that are asked about one by one; empty: all cases together.
        trust_cases: cases of the trust tests, of each class.
        honesty_cases: cases of the honesty battery, of each class.
        seed: of everything drawn.
        black: the lower end of the network's input range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        classes: Sequence[int],
        trust_cases: int,
        honesty_cases: int,
        seed: int,
        black: float = 0.0,
    ) -> None:
        self._network, self._seed = network, seed
        kinds = list(classes) or [None]
        # one seed for all: the classes of a segmentation are then asked about in the same cases
        self._samples = {kind: Sample(trust_cases, seed=seed) for kind in kinds}
        self._batteries = {
            kind: HonestyBattery(network, limit=honesty_cases, of_class=kind, black=black, seed=seed) for kind in kinds
        }
        self._passes = 0

    @property
    def passes(self) -> int:
        """How many passes were taken so far."""
        return self._passes + sum(battery.passes for battery in self._batteries.values())

    def add(self, batch: Mapping[str, Any], targets: Tensor) -> None:
        """Look at a batch with its explained classes; what is drawn is kept."""
        for kind, sample in self._samples.items():
            sample.add(batch, targets, only=kind)
        for battery in self._batteries.values():
            battery.add(batch)

    def ask(self, methods: Sequence[Method], tallies: Tallies, of_class: Mapping[int, Tallies], **ask: Any) -> None:
        """Tally the costly scores of the sampled cases, over all and with those of their class; ask the battery."""
        for kind, sample in self._samples.items():
            into = [tallies, *([] if kind is None else [of_class[kind]])]
            self._ask_sample(sample, methods, into, **ask)
        for battery in self._batteries.values():
            battery.ask()

    def honesty(self, kind: int | None = None) -> Honesty | None:
        """What the battery found for a class, or over all; None where no case could be asked."""
        asked = self._batteries.values() if kind is None else [self._batteries[kind]]
        return figures_of(list(asked))

    def _ask_sample(self, sample: Sample, methods: Sequence[Method], into: Sequence[Tallies], **ask: Any) -> None:
        for batch in sample.batches(_TOGETHER):
            cases = {"inputs": batch.images, "targets": batch.targets, "seed": self._seed}
            asked = {
                m.name: Asked(network=self._network, method=m, **cases, **ask)
                for m in able(methods, self._network, batch.images.shape[2:], ask.get("background"))
            }
            for name, one in asked.items():
                one.others = {other: asked[other].relevance for other in asked if other != name}
                one.spacing = batch.spacing
                for score, kinds in score_model(one).items():
                    value, level, centre = ({score: kind.cpu()} for kind in kinds)
                    for tallies in into:
                        tallies[name].add(scores=value, chance=level, centred=centre, groups=batch.groups)
                self._passes += one.passes
                one.forget()
