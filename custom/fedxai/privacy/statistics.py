# SPDX-License-Identifier: Apache-2.0
"""What may leave of a site's data statistics: nothing that fewer cases than the minimum cell stand behind."""

from fedxai.errors import SettingsError
from fedxai.privacy.release import Patients, least_cases, released_cells, released_figure
from fedxai.records import Figure
from fedxai.records_statistics import Extent, HistogramBin, SiteStatistics


def released_statistics(
    statistics: SiteStatistics, minimum_cell: int, patients: Patients | None = None
) -> SiteStatistics:
    """The statistics as they may leave. What counts is cases, not voxels.

    - Histogram: a bin that fewer than ``minimum_cell`` cases reach is not told; its share goes to the nearest bin that
      enough cases reach, so that extreme values are coded by ones that many have and no gap tells what was there.
      Where no bin has enough, there is no histogram.
    - Class counts of 1 to ``minimum_cell - 1`` are held back, and with a single one a second.
    - Spacing and shape: means over fewer than ``minimum_cell`` cases are held back.
    - Where all cases are one patient's (``patients`` of the training split), only what is 0 is told.

    Raises:
        SettingsError: when ``minimum_cell`` is below 1.
    """
    if minimum_cell < 1:
        raise SettingsError(f"minimum_cell must be at least 1, got {minimum_cell}")
    least = least_cases(minimum_cell, patients)
    return SiteStatistics(
        cases=statistics.cases,
        minimum_cell=minimum_cell,
        classes=released_cells([statistics.classes], [least])[0],
        histogram=_released_histogram(statistics.histogram, least),
        spacing=[_released_extent(extent, least) for extent in statistics.spacing],
        shape=[_released_extent(extent, least) for extent in statistics.shape],
    )


def _released_histogram(histogram: list[HistogramBin], minimum_cell: int) -> list[HistogramBin]:
    kept = {part.bin: part.share.value or 0.0 for part in histogram if part.share.n >= minimum_cell}
    if not kept:
        return []
    for part in histogram:
        if part.share.n < minimum_cell:
            nearest = min(kept, key=lambda b: (abs(b - part.bin), b))
            kept[nearest] += part.share.value or 0.0
    cases = {part.bin: part.share.n for part in histogram}
    return [HistogramBin(bin=b, share=Figure(value=share, n=cases[b])) for b, share in kept.items()]


def _released_extent(extent: Extent, minimum_cell: int) -> Extent:
    ends = (extent.low, extent.middle, extent.high)
    low, middle, high = (released_figure(figure, minimum_cell) for figure in ends)
    return Extent(low=low, middle=middle, high=high)
