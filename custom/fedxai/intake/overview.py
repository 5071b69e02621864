# SPDX-License-Identifier: Apache-2.0
"""A cohort at a glance: counts, class balance, image sizes and intensities."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from fedxai.errors import CohortError
from fedxai.intake.cohort import Cohort
from fedxai.intake.pixels import read_image
from fedxai.intake.progress import Track, quiet
from fedxai.records import SPLITS, CaseCounts


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What one site's cohort holds; intensities are shares of the full range of the image's depth."""

    counts: CaseCounts
    patients: int
    regions: int  # cases with a region
    classes: dict[str, int]  # name to number of cases, over all splits
    sizes: str  # "128 x 128", or the smallest and the largest
    low: float  # mean over images of the 5th percentile
    mean: float
    high: float  # mean over images of the 95th percentile
    unreadable: int


def look_over(cohort: Cohort, *, track: Track = quiet) -> Overview:
    """Go through a cohort's images once; unreadable ones are counted, not an end."""
    cases = [case for split in SPLITS for case in cohort.cases(split)]
    labels = Counter(case.label for case in cases)
    sizes: set[tuple[int, ...]] = set()
    levels: list[tuple[float, float, float]] = []
    for case in track(cases, f"Reading {cohort.folder.name}"):
        try:
            pixels = read_image(case.image, what="image")
        except CohortError:
            continue
        sizes.add(pixels.shape[:2])
        low, high = np.percentile(pixels, (5, 95)) / np.iinfo(pixels.dtype).max
        levels.append((float(low), float(pixels.mean() / np.iinfo(pixels.dtype).max), float(high)))
    low, mean, high = np.mean(levels, axis=0) if levels else (np.nan, np.nan, np.nan)
    return Overview(
        counts=cohort.counts(),
        patients=len({case.group for case in cases if case.group}),
        regions=sum(case.region is not None for case in cases),
        classes={name: labels[i] for i, name in enumerate(cohort.class_names)},
        sizes=" to ".join(f"{r} x {c}" for r, c in dict.fromkeys((min(sizes), max(sizes)))) if sizes else "none",
        low=float(low),
        mean=float(mean),
        high=float(high),
        unreadable=len(cases) - len(levels),
    )
