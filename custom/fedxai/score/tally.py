# SPDX-License-Identifier: Apache-2.0
"""Per-case values of one saliency method, added up batch by batch into a summary with intervals."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from fedxai.combine.intervals import group_interval
from fedxai.errors import ExplanationError
from fedxai.records import Figure, MethodSummary


class Tally:
    """Holds one number a case and score, never a map.

    Args:
        method: the saliency method's name.
    """

    def __init__(self, method: str) -> None:
        self.method = method
        self._unscored = 0
        self._groups: list[str] = []
        self._scores: dict[str, list[float]] = defaultdict(list)
        self._chance: dict[str, list[float]] = defaultdict(list)

    def add(self, *, scores: Mapping[str, Tensor], chance: Mapping[str, Tensor], groups: Sequence[str]) -> None:
        """Add cases with a region: by score, values and chance levels ``(B,)``; NaN is undefined.

        Raises:
            ExplanationError: when there is not one patient group per case.
        """
        for values in (*scores.values(), *chance.values()):
            if values.shape != (len(groups),):
                raise ExplanationError(
                    f"a score must give one value per case, got {tuple(values.shape)} for {len(groups)} cases"
                )
        self._groups.extend(groups)
        for name in scores:
            self._scores[name].extend(scores[name].tolist())
            self._chance[name].extend(chance[name].tolist())

    def skip(self, cases: int) -> None:
        """Count cases without a region: they are not scored."""
        self._unscored += cases

    def summary(self, *, names: Sequence[str], seed: int = 0) -> MethodSummary:
        """Means over the defined cases, with patient-level 95 % intervals, chance over the same cases.

        Args:
            names: scores to report, also where no case was scored.
            seed: of the bootstrap.
        """
        scores, levels, undefined = {}, {}, {}
        for name in names:
            values, chance = np.array(self._scores[name]), np.array(self._chance[name])
            defined = np.flatnonzero(np.isfinite(values))
            groups = [self._groups[index] for index in defined]
            undefined[name] = len(values) - len(defined)
            scores[name] = _mean(values[defined], groups, seed)
            levels[name] = _mean(chance[defined], groups, seed)
        return MethodSummary(
            method=self.method,
            scored=len(self._groups),
            unscored=self._unscored,
            undefined=undefined,
            scores=scores,
            chance=levels,
        )


def _mean(values: np.ndarray, groups: Sequence[str], seed: int) -> Figure:
    if not len(values):
        return Figure(value=None, n=0)
    low, high = group_interval(lambda index: float(values[index].mean()), groups, seed=seed)
    return Figure(value=float(values.mean()), n=len(values), low=low, high=high)
