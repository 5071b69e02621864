# SPDX-License-Identifier: Apache-2.0
"""Where the relevance of gradient x input lies, by site and class: what the search for shortcuts compares."""

from collections.abc import Iterable

from fedxai.records import PLACE_KINDS, Figure, PlaceSummary, RunSummary, place_kind
from fedxai.report.reading import explanations_of
from fedxai.report.tables import Cell, Column, Table


def places_table(summary: RunSummary) -> Table:
    """A row a site and class: the share of relevance in each kind of place, and the region's share of the image."""
    columns = (
        Column(key="site", heading="Site"),
        Column(key="class", heading="Class"),
        Column(key="cases", heading="Cases", kind="count"),
        Column(key="patients", heading="Patients", kind="count"),
        Column(key="undefined", heading="Undefined", kind="count"),
        *(Column(key=kind, heading=kind.capitalize(), kind="figure") for kind in PLACE_KINDS),
        Column(key="chance", heading="Region of the image", kind="figure"),
    )
    names = dict(enumerate(summary.bundle.class_names))
    rows: list[dict[str, Cell]] = [
        {
            "site": site,
            "class": names.get(place.class_index, f"class {place.class_index}"),
            "cases": place.n,
            "patients": place.patients,
            "undefined": place.undefined,
            **{kind: _together(_of_kind(place, kind)) for kind in PLACE_KINDS},
            "chance": place.chance.get("region"),
        }
        for site, answer in explanations_of(summary).items()
        for place in answer.places
    ]
    return Table(
        name="places", title="Where the relevance lies, site by site and class by class", columns=columns, rows=rows
    )


def _of_kind(place: PlaceSummary, kind: str) -> list[Figure]:
    return [figure for name, figure in place.shares.items() if place_kind(name) == kind]


def _together(figures: Iterable[Figure]) -> Figure | None:
    """The sum; half-widths add up too, so that the interval of several pieces is rather too wide than too narrow."""
    parts = list(figures)
    values = [part.value for part in parts if part.value is not None]
    if not parts or len(values) < len(parts):
        return None  # a piece that was held back leaves no sum
    value, n = sum(values), min(part.n for part in parts)
    over = [part.high - part.value for part in parts if part.high is not None and part.value is not None]
    if len(over) < len(parts):
        return Figure(value=value, n=n)
    half = sum(over)
    return Figure(value=value, n=n, low=max(0.0, value - half), high=value + half)
