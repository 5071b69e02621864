# SPDX-License-Identifier: Apache-2.0
"""The validation metric that chooses the best model: one that is better when it is higher."""

from fedxai.bundle import Bundle
from fedxai.errors import SettingsError
from fedxai.train.segmentation import figure_name


def key_metrics(bundle: Bundle) -> list[str]:
    """The metrics that can choose among models of the bundle, the usual one first."""
    if bundle.task == "classification":
        return ["macro_auc", "accuracy", "balanced_accuracy", "macro_f1"]
    return ["mean_dice", *(figure_name("dice", name) for name in bundle.class_names[1:])]


def check_key_metric(name: str, bundle: Bundle) -> None:
    """Refuse a metric that nobody measures, or that is better when it is lower.

    Raises:
        SettingsError: the choices are listed.
    """
    known = key_metrics(bundle)
    if name not in known:
        raise SettingsError(f"key_metric must be one of {', '.join(known)}, which are better when higher, got {name!r}")
