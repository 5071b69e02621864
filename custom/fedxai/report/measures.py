# SPDX-License-Identifier: Apache-2.0
"""The figures that a run is read by: of a classification macro AUC and accuracy, of a segmentation Dice and HD95."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fedxai.records import Comparison, Figure, RunSummary
from fedxai.report.reading import evaluations_of


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Names of metrics: the first two lead, ``share`` lies in [0, 1] and is what E is held against."""

    first: str
    second: str
    share: str
    listed: tuple[str, ...]  # all, in the order of the tables

    @property
    def in_brief(self) -> tuple[str, ...]:
        """What a table beside other figures has room for."""
        return self.listed[: max(3, self.listed.index(self.second) + 1)]


CLASSIFICATION = Measures(
    first="macro_auc",
    second="accuracy",
    share="accuracy",
    listed=("macro_auc", "accuracy", "macro_f1", "balanced_accuracy", "ece", "loss"),
)


def run_measures(summary: RunSummary) -> Measures:
    """What this run is read by, told from the figures that it has."""
    finals = [evaluation.metrics for evaluation in evaluations_of(summary).values()]
    return _measures(finals + [site.validation for part in summary.rounds for site in part.sites])


def selection_name(summary: RunSummary) -> str:
    """The metric that chooses the best model; of a run that did not say it, the first one."""
    said = summary.choice.key_metric if summary.choice else summary.settings.get("key_metric")
    return str(said or run_measures(summary).first)


def comparison_measures(comparison: Comparison) -> Measures:
    """What this comparison is read by, told from the figures that it has."""
    return _measures(result.metrics for result in comparison.results)


def is_length(name: str) -> bool:
    """Whether the metric is in mm, lower is better, and can exceed 1."""
    return "hd95" in name.split("_")


def _measures(parts: Iterable[Mapping[str, Figure]]) -> Measures:
    names = list(dict.fromkeys(name for part in parts for name in part))
    if "mean_dice" not in names:
        return CLASSIFICATION
    dice = sorted((name for name in names if name.startswith("dice_")), key=names.index)
    lengths = sorted((name for name in names if name.startswith("hd95_")), key=names.index)
    listed = ("mean_dice", *dice, "mean_hd95", *lengths, "loss")
    return Measures(first="mean_dice", second="mean_hd95", share="mean_dice", listed=listed)
