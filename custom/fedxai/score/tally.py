# SPDX-License-Identifier: Apache-2.0
"""Per-case values of one saliency method, added up batch by batch into a summary with intervals."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedxai.combine.intervals import FEWEST_FOR_INTERVAL, case_mean, figure_of, mean_of, patient_count
from fedxai.errors import ExplanationError
from fedxai.records import Figure, MethodSummary

ByScore = Mapping[str, Tensor]
_KINDS = ("scores", "chance", "centred")


class Tally:
    """Holds three numbers a case and score (24 bytes), never a map.

    Args:
        method: the saliency method's name.
    """

    def __init__(self, method: str) -> None:
        self.method = method
        self._cases = 0
        self._scored = 0
        self._groups: dict[str, list[str]] = defaultdict(list)
        self._without_map: Counter[str] = Counter()
        self._rows: dict[str, array[float]] = defaultdict(lambda: array("d"))  # value, chance, centred of each case

    def count(self, *, cases: int, with_region: int) -> None:
        """Count cases that were looked at, and those of them with a region."""
        self._cases += cases
        self._scored += with_region

    def add(self, *, scores: ByScore, chance: ByScore, centred: ByScore, groups: Sequence[str]) -> None:
        """Add cases: by score, values and what a uniform map and a centred Gaussian reach, ``(B,)``; NaN is undefined.

        Raises:
            ExplanationError: when there is not one patient group per case.
        """
        for values in (*scores.values(), *chance.values(), *centred.values()):
            if values.shape != (len(groups),):
                raise ExplanationError(
                    f"a score must give one value per case, got {tuple(values.shape)} for {len(groups)} cases"
                )
        for name in scores:
            kinds = (scores[name].tolist(), chance[name].tolist(), centred[name].tolist())
            for row in zip(*kinds, strict=True):
                self._rows[name].extend(row)
            self._groups[name].extend(groups)

    def add_levels(self, *, chance: ByScore, centred: ByScore, groups: Sequence[str]) -> None:
        """Add levels of cases of which the method can make no map: these are neither scored nor undefined.

        Raises:
            ExplanationError: when there is not one patient group per case.
        """
        nothing = {name: torch.full_like(values, float("nan")) for name, values in chance.items()}
        self.add(scores=nothing, chance=chance, centred=centred, groups=groups)
        for name in chance:
            self._without_map[name] += len(groups)

    def above(self, level: Literal["chance", "centred"], name: str, *, seed: int = 0) -> Figure:
        """How far a score's mean is above one of its levels, as :meth:`summary` tells the two, with its interval.

        Drawn together, so where all cases are defined the two are paired within a case.
        """
        rows = self._all(name)
        levels = rows[:, _KINDS.index(level)]
        known, levelled = np.isfinite(rows[:, 0]), np.isfinite(levels)
        if not known.any():
            return Figure(value=None, n=0)
        mean, below = mean_of(rows[known, 0]), mean_of(levels[levelled])

        def difference(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            with np.errstate(invalid="ignore"):  # a draw without any defined case has no mean
                return mean(weights[:, known]) - below(weights[:, levelled])

        of_enough = patient_count(self._groups_of(name)) >= FEWEST_FOR_INTERVAL
        figure = figure_of(difference, self._groups[name], intervals=of_enough, seed=seed)
        return figure.model_copy(update={"n": int(known.sum())})

    def figure(self, name: str, *, seed: int = 0) -> Figure:
        """The mean of a score over its defined cases, with its patient-level 95 % interval."""
        return case_mean(self._defined(name)[:, 0], self._groups_of(name), seed=seed)

    def summary(self, *, names: Sequence[str], seed: int = 0) -> MethodSummary:
        """Means over the defined cases, with patient-level 95 % intervals; levels over all cases that were asked about.

        Levels depend on a case's region, not on a map: over the defined cases alone, those of two methods would
        together tell the region of a single case of which one of them has no map.

        Args:
            names: scores to report, also where no case was scored.
            seed: of the bootstrap.
        """

        def levels(kind: Literal["chance", "centred"]) -> dict[str, Figure]:
            column = _KINDS.index(kind)
            return {name: case_mean(self._all(name)[:, column], self._groups[name], seed=seed) for name in names}

        return MethodSummary(
            method=self.method,
            scored=self._scored,
            unscored=self._cases - self._scored,
            undefined={n: len(self._all(n)) - len(self._defined(n)) - self._without_map[n] for n in names},
            scores={name: self.figure(name, seed=seed) for name in names},
            chance=levels("chance"),
            centred=levels("centred"),
        )

    def _all(self, name: str) -> np.ndarray:
        return np.array(self._rows[name], dtype=np.float64).reshape(-1, 3)

    def _defined(self, name: str) -> np.ndarray:
        rows = self._all(name)
        return rows[np.isfinite(rows[:, 0])]

    def _groups_of(self, name: str) -> list[str]:
        known = np.isfinite(self._all(name)[:, 0])
        return [group for group, defined in zip(self._groups[name], known, strict=True) if defined]
