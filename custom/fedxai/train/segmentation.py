# SPDX-License-Identifier: Apache-2.0
"""How well a segmentation agrees with the label maps: Dice and surface distance, volume by volume."""

import re
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.meandice import compute_dice
from numpy.typing import NDArray
from torch import Tensor

from fedxai.combine.intervals import case_mean, patient_count
from fedxai.errors import CohortError, TrainingError
from fedxai.records import Evaluation, Split

_PERCENTILE = 95


class SegmentationTally:
    """Figures of label maps against logits, gathered batch by batch: a few numbers a case stay, never a volume.

    Of class k above 0 and one case, P the voxels segmented as k (the largest logit) and G those labelled k:
    Dice ``2 |P & G| / (|P| + |G|)``, and HD95, the larger of the two directed 95th percentiles of the distances in
    mm between the surfaces of P and G. A case without class k in its label map has no value for k, one in which
    nothing is segmented as k a Dice of 0 and no HD95; the figures' n count the values. A case's mean is over the
    classes that have a value. All on the network's grid, without the padding's influence: padding is background.

    Args:
        class_names: of value 0 (background), 1, ... of the label maps.
        loss: the bundle's own, of logits ``(1, K, *spatial)`` and a label map ``(1, 1, *spatial)``.

    Source: Taha and Hanbury 2015, doi:10.1186/s12880-015-0068-x; computed by MONAI.
    """

    def __init__(self, class_names: Sequence[str], loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._loss = loss
        self._classes = len(class_names)
        self._columns = ["loss"]
        for kind in ("dice", "hd95"):
            self._columns += [f"mean_{kind}", *figure_names(kind, class_names)]
        self._rows: list[list[float]] = []

    def add(self, logits: Tensor, labels: Tensor, spacing: Sequence[Sequence[float] | None] | None = None) -> None:
        """Add the cases of a batch.

        Args:
            logits: ``(B, K, *spatial)``.
            labels: label maps ``(B, 1, *spatial)``.
            spacing: mm from voxel to voxel of each case; where it is None, HD95 has no value.

        Raises:
            TrainingError: when a logit is not finite.
            CohortError: when a label map holds what is no class.
        """
        logits, labels = (value.detach().as_subclass(Tensor) for value in (logits, labels))
        if not bool(logits.isfinite().all()):
            raise TrainingError("the logits must be finite, got NaN or infinity; the weights are spoilt")
        check_map(labels, self._classes)
        for place in range(len(logits)):
            self._rows.append(
                self._case(logits[place][None], labels[place][None], None if spacing is None else spacing[place])
            )

    def evaluation(self, groups: Sequence[str], *, split: Split) -> Evaluation:
        """The means over the cases that have a value, with 95 % intervals over patients (1,000 resamples).

        Args:
            groups: the patient of each case, in the order of adding.
            split: which split the cases are from.
        """
        rows = np.array(self._rows, dtype=np.float64)
        return Evaluation(
            split=split,
            cases=len(rows),
            patients=patient_count(groups),
            metrics={name: case_mean(column, groups) for name, column in zip(self._columns, rows.T, strict=True)},
        )

    def _case(self, logits: Tensor, labels: Tensor, spacing: Sequence[float] | None) -> list[float]:
        """One row: loss, then mean and classes of Dice, then of HD95; NaN where there is no value."""
        predicted, truth = (_one_hot(value, self._classes) for value in (logits.argmax(1, keepdim=True), labels))
        dice = compute_dice(predicted, truth, include_background=False)[0].double().cpu().numpy()
        distance: NDArray = np.full(self._classes - 1, np.nan)
        if spacing is not None:
            distance = _distances(predicted, truth, spacing)
        loss = float(self._loss(logits.float(), labels))
        return [loss, _mean(dice), *dice.tolist(), _mean(distance), *distance.tolist()]


def figure_names(kind: str, class_names: Sequence[str]) -> list[str]:
    """Names of the figures of the classes above 0: ``dice_anterior_horn`` of a class as people write it.

    A class whose Latin letters and digits are none, or another's too, goes by its value in the label map:
    ``dice_class_2``.
    """
    plain = [re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[: 64 - len(kind) - 1] for name in class_names]
    numbers = [f"class_{index}" for index in range(len(plain))]
    own = [name if name and plain.count(name) == 1 and name not in numbers else None for name in plain]
    return [f"{kind}_{name or number}" for name, number in zip(own, numbers, strict=True)][1:]


def check_map(labels: Tensor, classes: int, *, augmented: bool = False) -> None:
    """Refuse label maps that hold anything but the numbers of the classes.

    Args:
        labels: of any shape.
        classes: how many there are.
        augmented: whether augmentation may have moved the maps. Published bundles let it interpolate a label map too;
            MONAI's losses cut such fractions down to whole numbers, so only those that are then no class are refused.

    Raises:
        CohortError: when a value is fractional (unless ``augmented``), negative, or not below ``classes``.
    """
    values = labels.trunc() if augmented else labels
    wrong = labels[~((values >= 0) & (values < classes) & (values == values.round()))]
    if wrong.numel():
        raise CohortError(
            f"label maps must hold whole numbers from 0 to {classes - 1}, got {float(wrong.flatten()[0]):g}; "
            "choose a bundle with as many classes as the cohort"
        )


def _one_hot(values: Tensor, classes: int) -> Tensor:
    """Float ``(1, K, *spatial)`` from ``(1, 1, *spatial)``."""
    return torch.cat([values == index for index in range(classes)], dim=1).float()


def _distances(predicted: Tensor, truth: Tensor, spacing: Sequence[float]) -> NDArray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an empty class; it has no value
        found = compute_hausdorff_distance(
            predicted, truth, include_background=False, percentile=_PERCENTILE, spacing=[float(s) for s in spacing]
        )
    values = found[0].double().cpu().numpy()
    return np.where(np.isfinite(values), values, np.nan)


def _mean(values: NDArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
