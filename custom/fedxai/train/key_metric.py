# SPDX-License-Identifier: Apache-2.0
"""The validation metric that chooses the best model: one that is better when it is higher."""

from collections.abc import Mapping

from fedxai.bundle import Bundle
from fedxai.errors import SettingsError
from fedxai.intake.cohort import Cohort
from fedxai.privacy.release import Patients, least_of_classes, of_classes_alike
from fedxai.train.segmentation import figure_names


def key_metrics(bundle: Bundle) -> list[str]:
    """The metrics that can choose among models of the bundle, the usual one first."""
    if bundle.task == "classification":
        return ["macro_auc", "accuracy", "balanced_accuracy", "macro_f1"]
    return ["mean_dice", *figure_names("dice", bundle.class_names)]


def check_key_metric(name: str, bundle: Bundle) -> None:
    """Refuse a metric that nobody measures, or that is better when it is lower.

    Raises:
        SettingsError: the choices are listed.
    """
    known = key_metrics(bundle)
    if name not in known:
        raise SettingsError(f"key_metric must be one of {', '.join(known)}, which are better when higher, got {name!r}")


def check_measured(name: str, cohorts: Mapping[str, Cohort], *, least: int = 1) -> None:
    """Refuse a metric that the validation cases of no site can give: of a single one, of that site alone.

    Args:
        name: the metric; ``macro_auc`` needs every class, and what weighs classes alike does not leave a site where one
            of them has few cases or is one patient's (:func:`~fedxai.privacy.release.of_classes_alike`).
        cohorts: by site; at least one.
        least: a figure over fewer cases than this does not leave its site; 1: it need not.

    Raises:
        SettingsError: names sites, classes and what to do.
    """
    few = {site: cohort.counts().validation < least for site, cohort in cohorts.items()}
    lacking = {site: _lacking(name, cohort, least) for site, cohort in cohorts.items()}
    if not all(few[site] or lacking[site] for site in cohorts):
        return
    who = "any site" if len(cohorts) > 1 else f"{next(iter(cohorts))} alone"
    why = [
        f"{site} has fewer than {least}" if few[site] else f"{site} has {' and '.join(lacking[site])}"
        for site in cohorts
    ]
    remedy = "take fewer sites or more such cases" if all(few.values()) else "choose another: --key-metric accuracy"
    raise SettingsError(
        f"key_metric {name} cannot be measured at {who}; of validation cases, {', '.join(why)}; {remedy}"
    )


def _lacking(name: str, cohort: Cohort, least: int) -> list[str]:
    """What the classes' validation cases lack for the metric, class by class."""
    cases, classes = cohort.cases("validation"), len(cohort.class_names)
    numbers = [sum(case.label == index for case in cases) for index in range(classes)]
    enough = (
        least_of_classes(least, Patients.of(cases, classes)) if name in of_classes_alike(classes) else [1] * classes
    )
    lacking = []
    for title, number, needed in zip(cohort.class_names, numbers, enough, strict=False):
        if not number and name == "macro_auc":
            lacking.append(f"no {title}")
        elif 0 < number < needed:
            lacking.append(f"{title} in fewer than {least} or of one patient")
    return lacking
