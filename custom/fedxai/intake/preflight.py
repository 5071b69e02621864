# SPDX-License-Identifier: Apache-2.0
"""A quick look at every file of a cohort before a run: there, whole, and masks of their images' size."""

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from fedxai.errors import CohortError
from fedxai.intake.cohort import Cohort
from fedxai.records import SPLITS


def preflight(cohort: Cohort) -> None:
    """Check headers and checksums, without decoding; `fedxai cohort check` looks deeper.

    Raises:
        CohortError: names the first file that would stop a run, relative to the cohort.
    """
    for split in SPLITS:
        if not cohort.cases(split):
            raise CohortError(f"the {split} split must hold at least one case, got none; split the cohort again")
        for case in cohort.cases(split):
            size = _size(case.image, cohort)
            if case.region is not None and _size(case.region, cohort) != size:
                name = case.region.relative_to(cohort.folder)
                raise CohortError(
                    f"{name} must have its image's size {size}, got {_size(case.region, cohort)}; "
                    "see `fedxai cohort check`"
                )


def _size(path: Path, cohort: Cohort) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            size = image.size
            image.verify()
        return size
    except (OSError, SyntaxError, UnidentifiedImageError) as error:
        raise CohortError(f"{path.relative_to(cohort.folder)} cannot be read; see `fedxai cohort check`") from error
