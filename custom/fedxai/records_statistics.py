# SPDX-License-Identifier: Apache-2.0
"""The nouns of a survey of data: what a site tells of its training cases, and what is made of all sites' answers.

The bins of the intensity histogram are the same everywhere and chosen by nobody, so that no server can lay one around
a patient: bin b holds values in [edge(b), edge(b + 1)), with edge(b) = 0.01 sinh((b - 1224) / 64). A bin is 1.6 % of
its value wide, and 0.00016 around 0; the last ones lie beyond +-1e6 and take what is larger.
"""

import math
from typing import Literal

from fedxai.records import SCHEMA_VERSION, BundleIdentity, CaseCounts, Count, Figure, Name, Record

BINS = 2448
BIN_SCALE = 0.01
BINS_PER_UNIT = 64
WHOLE = 100.0  # a histogram's shares together, in percent


def edge(bin_: int) -> float:
    """The lower edge of a bin, in the units of the stored values."""
    return BIN_SCALE * math.sinh((bin_ - BINS // 2) / BINS_PER_UNIT)


class HistogramBin(Record):
    """One bin: its share of a case's values, in percent, as a mean over the cases; n: cases that reach the bin."""

    bin: Count
    share: Figure


class Extent(Record):
    """How far a quantity reaches over cases: means over as many of the smallest, middle and largest, never one case.

    Where three such groups would overlap, only the middle is told, as the mean over all cases.
    """

    low: Figure
    middle: Figure
    high: Figure


class SiteStatistics(Record):
    """A site's answer to the ``statistics`` task; all but ``cases`` is over the training cases.

    ``minimum_cell``: as in a ``Survey``. ``classes``: cases of each class, or whose label map shows it; None: held
    back. ``spacing``: mm along each axis of a volume, none of pictures. ``shape``: values along each axis, as stored.
    """

    cases: CaseCounts
    minimum_cell: Count
    classes: list[Count | None]
    histogram: list[HistogramBin]
    spacing: list[Extent]
    shape: list[Extent]


class Window(Record):
    """The common intensity window: the 0.5 and 99.5 percentiles of all sites' values."""

    low: float
    high: float


class Preprocessing(Record):
    """What the sites' bundles should share; empty where too little was told to say it."""

    window: Window | None
    pixdim: list[float]  # mm, the median over the cases along each axis; empty: pictures
    class_weights: list[float]  # n / (K n_k)


class DataSurvey(Record):
    """``survey.json``: what the sites told, all of them together, and the proposal."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    created: str  # ISO 8601, UTC
    bundle: BundleIdentity
    sites: dict[Name, SiteStatistics]
    cases: CaseCounts
    classes: list[Count]  # over the sites that held no class back
    histogram: list[HistogramBin]
    preprocessing: Preprocessing
    notes: list[str]
