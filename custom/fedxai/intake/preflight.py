# SPDX-License-Identifier: Apache-2.0
"""A quick look at every file of a cohort before a run: there, whole, and masks of their images' size."""

from pathlib import Path

from fedxai.errors import CohortError
from fedxai.intake.cohort import Cohort
from fedxai.intake.stored import size_of
from fedxai.records import SPLITS


def preflight(cohort: Cohort) -> None:
    """Check headers and what tells cheaply whether a file is whole; `fedxai cohort check` looks deeper.

    Raises:
        CohortError: names the first file that would stop a run, relative to the cohort.
    """
    for split in SPLITS:
        if not cohort.cases(split):
            raise CohortError(f"the {split} split must hold at least one case, got none; split the cohort again")
        for case in cohort.cases(split):
            image, *masks = case.files
            size = _size(image, cohort)
            for mask in masks:
                if _size(mask, cohort) != size:
                    raise CohortError(
                        f"{mask.relative_to(cohort.folder)} must have its image's size {size}, "
                        f"got {_size(mask, cohort)}; see `fedxai cohort check`"
                    )


def _size(path: Path, cohort: Cohort) -> tuple[int, ...]:
    try:
        return size_of(path)
    except CohortError as error:
        raise CohortError(f"{path.relative_to(cohort.folder)} cannot be read; see `fedxai cohort check`") from error
