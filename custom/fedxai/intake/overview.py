# SPDX-License-Identifier: Apache-2.0
"""A cohort at a glance: counts, class balance, image sizes and intensities."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from fedxai.errors import CohortError
from fedxai.intake.cohort import Cohort
from fedxai.intake.progress import Track, quiet
from fedxai.intake.stored import is_volume, read_values
from fedxai.records import SPLITS, Case, CaseCounts


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What one site's cohort holds.

    Intensities are shares of the full range of an image's depth; of volumes they are the values themselves.
    """

    counts: CaseCounts
    patients: int
    regions: int  # cases with a region
    classes: dict[str, int]  # name to number of cases, or of label maps that show it, over all splits
    sizes: str  # "128 x 128", or the smallest and the largest along each axis
    spacing: str  # of volumes, in mm, as the sizes; empty for images
    low: float  # mean over images of the 5th percentile
    mean: float
    high: float  # mean over images of the 95th percentile
    unreadable: int


def look_over(cohort: Cohort, *, track: Track = quiet) -> Overview:
    """Go through a cohort's images once; unreadable ones are counted, not an end."""
    cases = [case for split in SPLITS for case in cohort.cases(split)]
    labels: Counter[int] = Counter()
    sizes: list[tuple[float, ...]] = []
    spacings: list[tuple[float, ...]] = []
    levels: list[tuple[float, float, float]] = []
    for case in track(cases, f"Reading {cohort.folder.name}"):
        try:
            labels.update(_classes(case))
            values, place = read_values(case.image, what="image")
        except CohortError:
            continue
        sizes.append(values.shape[: 3 if is_volume(case.image) else 2])
        spacings += [tuple(voxel_sizes(place))] if is_volume(case.image) else []
        levels.append(_levels(values, 1 if is_volume(case.image) else np.iinfo(values.dtype).max))
    low, mean, high = np.mean(levels, axis=0) if levels else (np.nan, np.nan, np.nan)
    return Overview(
        counts=cohort.counts(),
        patients=len({case.group for case in cases if case.group}),
        regions=sum(case.region is not None for case in cases),
        classes={name: labels[i] for i, name in enumerate(cohort.class_names)},
        sizes=_ends(sizes) or "none",
        spacing=_ends(spacings),
        low=float(low),
        mean=float(mean),
        high=float(high),
        unreadable=len(cases) - len(levels),
    )


def _levels(values: NDArray[Any], full: int) -> tuple[float, float, float]:
    low, high = np.percentile(values, (5, 95)) / full
    return float(low), float(values.mean() / full), float(high)


def _classes(case: Case) -> Iterable[int]:
    """A case's class, or the values of its label map."""
    if isinstance(case.label, Path):
        values, _ = read_values(case.label, what="label map")
        return [int(value) for value in np.unique(values)]
    return [case.label]


def _ends(sizes: Sequence[tuple[float, ...]]) -> str:
    """Return the smallest and the largest along each axis."""
    if not sizes:
        return ""
    ends = (np.min(sizes, axis=0), np.max(sizes, axis=0))
    return " to ".join(dict.fromkeys(" x ".join(f"{size:.4g}" for size in end) for end in ends))
