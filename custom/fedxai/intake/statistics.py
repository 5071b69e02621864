# SPDX-License-Identifier: Apache-2.0
"""What a site's training cases are like: classes, intensities, spacing and shape, read one case at a time."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from fedxai.intake.cohort import Cohort
from fedxai.intake.stored import is_volume, read_values
from fedxai.records import Case, Figure
from fedxai.records_statistics import (
    BIN_SCALE,
    BINS,
    BINS_PER_UNIT,
    WHOLE,
    Extent,
    HistogramBin,
    SiteStatistics,
)


def cohort_statistics(cohort: Cohort, *, group: int) -> SiteStatistics:
    """Go once through the training cases; validation and test cases are counted, never opened.

    Every case weighs the same in the histogram, however many voxels it has. What may leave of this is for
    `fedxai.privacy.statistics` to say.

    Args:
        cohort: the site's.
        group: cases over which the ends of spacing and shape are means, at least.

    Raises:
        CohortError: a file cannot be read.
    """
    cases = cohort.cases("training")
    classes: Counter[int] = Counter()
    shares, reached = np.zeros(BINS), np.zeros(BINS, dtype=np.int64)
    spacings: list[tuple[float, ...]] = []
    shapes: list[tuple[int, ...]] = []
    for case in cases:
        values, place = read_values(case.image, what="image")
        volume = is_volume(case.image)
        counts = bin_counts(values)
        shares += counts / counts.sum()
        reached += counts > 0
        classes.update(_classes(case))
        shapes.append(values.shape[: 3 if volume else 2])
        spacings += [tuple(voxel_sizes(place))] if volume else []
    return SiteStatistics(
        cases=cohort.counts(),
        minimum_cell=group,
        classes=[classes[index] for index in range(len(cohort.class_names))],
        histogram=[
            HistogramBin(bin=int(b), share=Figure(value=WHOLE * shares[b] / len(cases), n=int(reached[b])))
            for b in np.flatnonzero(reached)
        ],
        spacing=_extents(spacings, group),
        shape=_extents(shapes, group),
    )


def bin_counts(values: NDArray[Any]) -> NDArray[np.int64]:
    """How many values lie in each bin of `fedxai.records_statistics`, (BINS,); a slab of the first axis at a time."""
    counts = np.zeros(BINS, dtype=np.int64)
    for slab in values:
        places = np.floor(np.arcsinh(slab.astype(np.float64) / BIN_SCALE) * BINS_PER_UNIT) + BINS // 2
        counts += np.bincount(np.clip(places, 0, BINS - 1).astype(np.int64).ravel(), minlength=BINS)
    return counts


def _classes(case: Case) -> list[int]:
    if not isinstance(case.label, Path):
        return [case.label]
    values, _ = read_values(case.label, what="label map")
    return [int(value) for value in np.unique(values)]


def _extents(sizes: Sequence[tuple[float, ...]], group: int) -> list[Extent]:
    """One along each axis; cases with fewer axes than others are none of a cohort's."""
    return [_extent(np.sort(axis), group) for axis in np.array(sizes, dtype=np.float64).T] if sizes else []


def _extent(ordered: NDArray[np.float64], group: int) -> Extent:
    n = len(ordered)
    size = max(group, n // 20)
    if n < 3 * size:
        nothing = Figure(value=None, n=0)
        return Extent(low=nothing, middle=_mean(ordered), high=nothing)
    start = (n - size) // 2
    middle = _mean(ordered[start : start + size])
    return Extent(low=_mean(ordered[:size]), middle=middle, high=_mean(ordered[n - size :]))


def _mean(values: NDArray[np.float64]) -> Figure:
    return Figure(value=values.mean(), n=len(values))
