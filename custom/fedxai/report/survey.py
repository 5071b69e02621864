# SPDX-License-Identifier: Apache-2.0
"""What a survey leaves to read: ``survey.json``, a page, the proposal as MONAI configuration, a table of the sites."""

import json
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from fedxai.records_statistics import DataSurvey, Extent, HistogramBin, Preprocessing, SiteStatistics, edge
from fedxai.report.canvas import INK, MUTED, PALETTE, WIDE, dress, legend_below, new_picture, png
from fedxai.report.files import strict_json, write_files
from fedxai.report.page import data_address, render
from fedxai.report.tables import Cell, Column, Table, show
from fedxai.report.words import UNKNOWN, readable_time, short, words

PREPROCESSING = "preprocessing.json"
_MOST_LINES = len(PALETTE) - 1


def write_survey(survey: DataSurvey, folder: Path) -> Path:
    """Write the survey, the page, and the proposal in MONAI's configuration language: all of it, or nothing.

    Returns:
        The path of ``survey.html``, one file that opens offline.

    Raises:
        RunError: when the disk refuses.
    """
    picture = intensity_picture(survey)
    config = json.dumps(monai_config(survey.preprocessing), indent=4, allow_nan=False)
    page = render(
        "survey.html.j2",
        survey=survey,
        title=words(survey.bundle.name),
        created=readable_time(survey.created),
        sites=sites_table(survey),
        config=config,
        figures={"intensities": data_address(picture)} if picture else {},
    )
    proposal = f"{config}\n".encode()
    write_files(folder, {PREPROCESSING: proposal, "survey.json": strict_json(survey), "survey.html": page})
    return folder / "survey.html"


def print_survey(survey: DataSurvey, results: Path, *, console: Console | None = None) -> None:
    """A row a site with its training cases, the proposal, what could not be said, and where the files are."""
    terminal, table = console or Console(), sites_table(survey)
    grid = Grid(box=SIMPLE_HEAD, title=Text(table.title), title_justify="left")
    columns = [column for column in table.columns if column.key not in ("validation", "test")]  # the page has them
    for column in columns:
        text = column.kind == "text"
        grid.add_column(column.heading, justify="left" if text else "right", overflow="fold", no_wrap=not text)
    for row in table.rows:
        grid.add_row(*(Text(show(row[column.key], column.kind)) for column in columns))
    terminal.print(grid)
    proposed = survey.preprocessing
    window = f"{proposed.window.low:g} to {proposed.window.high:g}" if proposed.window else UNKNOWN
    spacing = f"{_listed(proposed.pixdim)} mm" if proposed.pixdim else UNKNOWN
    lines = [
        f"Window {window}; spacing {spacing}; class weights {_listed(proposed.class_weights)}",
        *survey.notes,
        f"Proposal: {results / PREPROCESSING}",
        f"Report: {results / 'survey.html'}",
    ]
    for line in lines:
        terminal.print(Text(line), soft_wrap=True)


def monai_config(proposed: Preprocessing) -> dict[str, Any]:
    """The proposal under the ids ``spacing``, ``window`` and ``class_weights``, each where there is one.

    With the file in its ``configs/``, a bundle takes a part in by a macro: ``"%configs/preprocessing.json::window"``.
    """
    config: dict[str, Any] = {}
    if proposed.pixdim:
        config["spacing"] = {"_target_": "Spacingd", "keys": "image", "pixdim": proposed.pixdim, "mode": "bilinear"}
    if proposed.window:
        levels = {"a_min": proposed.window.low, "a_max": proposed.window.high, "b_min": 0.0, "b_max": 1.0}
        config["window"] = {"_target_": "ScaleIntensityRanged", "keys": "image", **levels, "clip": True}
    if proposed.class_weights:
        config["class_weights"] = proposed.class_weights
    return config


def sites_table(survey: DataSurvey) -> Table:
    """A row a site and one for all; a dash stands for what was held back."""
    names = survey.bundle.class_names
    columns = [
        Column(key="site", heading="Site"),
        *(Column(key=split, heading=split.capitalize(), kind="count") for split in ("training", "validation", "test")),
        *(Column(key=f"class_{index}", heading=words(name), kind="count") for index, name in enumerate(names)),
        Column(key="shape", heading="Shape"),
        Column(key="spacing", heading="Spacing, mm"),
    ]
    if not any(site.spacing for site in survey.sites.values()):
        columns.pop()
    rows = [_row(name, site) for name, site in survey.sites.items()]
    together: dict[str, Cell] = {"site": "all sites", **survey.cases.model_dump(), "shape": None, "spacing": None}
    told = dict(enumerate(survey.classes))
    together |= {f"class_{index}": told.get(index) for index in range(len(names))}
    note = "Classes, shape and spacing are of training cases; a dash: too few cases to be told. "
    note += "The classes of all sites are over those that held none back."
    last = frozenset({len(rows)})
    return Table(name="sites", title="The sites", columns=columns, rows=[*rows, together], note=note, emphasised=last)


def _row(name: str, site: SiteStatistics) -> dict[str, Cell]:
    classes: dict[str, Cell] = {f"class_{index}": count for index, count in enumerate(site.classes)}
    spans: dict[str, Cell] = {"shape": _spans(site.shape), "spacing": _spans(site.spacing)}
    return {"site": name, **site.cases.model_dump(), **classes, **spans}


def _spans(extents: Sequence[Extent]) -> str:
    """``240 (192–256) × 240``: the middle of each axis, and its ends where they differ."""
    return " × ".join(map(_span, extents))


def _span(extent: Extent) -> str:
    low, middle, high = (end.value for end in (extent.low, extent.middle, extent.high))
    if middle is None:
        return UNKNOWN
    if low is None or high is None or low == high:
        return f"{middle:.4g}"
    return f"{middle:.4g} ({low:.4g}–{high:.4g})"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values) or UNKNOWN


def intensity_picture(survey: DataSurvey) -> bytes | None:
    """How much of the values lies below each intensity, a line a site and one for all; None without a histogram."""
    if not survey.histogram:
        return None
    picture, (axes,) = new_picture(2 * WIDE, 3.6)
    told = {name: site.histogram for name, site in survey.sites.items() if site.histogram}
    for (name, histogram), colour in zip(list(told.items())[:_MOST_LINES], PALETTE, strict=False):
        axes.plot(*_below(histogram), color=colour, linewidth=1.4, label=short(name))
    axes.plot(*_below(survey.histogram), color=INK, linewidth=2.2, label="all sites")
    window = survey.preprocessing.window
    for level in (window.low, window.high) if window else ():
        axes.axvline(level, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
    dress(axes, x="Stored intensity", y="Values below, %", title="Intensities of the training cases")
    axes.set_ylim(0, 101)
    legend_below(picture, axes, columns=4)
    return png(picture)


def _below(histogram: Sequence[HistogramBin]) -> tuple[list[float], list[float]]:
    """Points of the cumulative line: both edges of every bin, so that it is flat where no bin is."""
    ends = list(accumulate((part.share.value or 0.0 for part in histogram), initial=0.0))
    places = [edge(part.bin + side) for part in histogram for side in (0, 1)]
    return places, [ends[index + side] for index in range(len(histogram)) for side in (0, 1)]
