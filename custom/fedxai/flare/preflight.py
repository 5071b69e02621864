# SPDX-License-Identifier: Apache-2.0
"""What would end a run later, said before anything is written or started, where a person has bundle and cohorts."""

from collections.abc import Mapping
from pathlib import Path

from fedxai.bundle import Bundle
from fedxai.errors import FedxaiError, RunError
from fedxai.flare.job_settings import CONFIG, explain_settings, read_config, train_settings
from fedxai.flare.selector import ModelSelector
from fedxai.intake.cohort import Cohort
from fedxai.intake.preflight import preflight
from fedxai.settings import SiteSettings
from fedxai.train.guidance import Guidance
from fedxai.train.key_metric import check_key_metric, check_measured
from fedxai.train.prepare import check_cases, check_classes


def check_run(job: Path, cohorts: Mapping[str, Path]) -> None:
    """Refuse a job whose bundle, settings or cohorts would end it.

    Args:
        job: a FLARE job folder.
        cohorts: site name to cohort folder; none where the sites draw the phantom.

    Raises:
        FedxaiError: names the setting, or the site and what is wrong with its cohort.
    """
    server, client = (read_config(job / CONFIG, side) for side in ("server", "client"))
    bundle, key_metric = Bundle.open(server["bundle"]), server.get("key_metric")
    explain_settings(client)
    guidance = train_settings(client).guidance
    if guidance.terms:
        Guidance.of(bundle, bundle.network(), guidance)
    ModelSelector(e_floor=server.get("e_floor")).check()
    if key_metric:  # a survey has none
        check_key_metric(key_metric, bundle)
    opened = fitting_cohorts(cohorts, bundle)
    if key_metric and opened:
        check_measured(key_metric, opened, least=SiteSettings().minimum_cell)  # pyright: ignore[reportCallIssue]


def fitting_cohorts(cohorts: Mapping[str, Path], bundle: Bundle) -> dict[str, Cohort]:
    """The cohorts, opened, every file looked at, and held against the bundle.

    Raises:
        RunError: names the first site that cannot take part, and why.
    """
    opened: dict[str, Cohort] = {}
    for site, folder in cohorts.items():
        try:
            opened[site] = Cohort.open(folder)
            fitting_classes(opened[site], bundle, site=site)
            check_cases(opened[site].splits(), bundle)
        except FedxaiError as error:
            raise RunError(f"{site} cannot take part: {error}") from error
    return opened


def fitting_classes(cohort: Cohort, bundle: Bundle, *, site: str) -> int:
    """How many classes cohort and bundle have, once every file of the cohort is there.

    Raises:
        CohortError: when a file would stop a run.
        BundleError: when the numbers differ, or the same names come in another order.
    """
    preflight(cohort)
    check_classes(cohort.class_names, bundle, whose=f"{site}'s cohort")
    return len(cohort.class_names)
