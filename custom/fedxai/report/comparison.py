# SPDX-License-Identifier: Apache-2.0
"""The comparison of the four systems: JSON, a page, the paper's Figures 2 and 3, CSV tables."""

import math
from pathlib import Path

from fedxai.records import Comparison, SystemName
from fedxai.report.class_table import system_class_table
from fedxai.report.comparison_figures import comparison_figures
from fedxai.report.files import strict_json, write_files
from fedxai.report.honesty_table import system_honesty_table
from fedxai.report.measures import comparison_measures, is_length
from fedxai.report.page import data_address, render
from fedxai.report.reproduce import compare_command
from fedxai.report.seeds import (
    Read,
    explainability,
    explainability_chance,
    interval_in_words,
    local_sites,
    metric,
    paired_difference,
    privacy,
    system_figure,
    system_trust,
    systems_present,
    trust,
)
from fedxai.report.tables import Cell, Column, Table
from fedxai.report.verdict import marked
from fedxai.report.words import readable_time, words

_TABLES = ("systems", "local_sites", "differences", "honesty", "classes", "results", "settings")


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write the comparison of centralised, local-only, federated and FedXAI-Med training.

    "Diagnostic accuracy" is macro AUC and accuracy, or Dice and HD95, on the common test cases, "privacy" is P of
    Eq. 6 over case records, "interpretability" is E of gradient × input beside its chance level and with the method's
    trust verdict on these models. Local-only stands for the mean over the sites' own models, and is also shown site by
    site. No number comes from elsewhere.

    Args:
        comparison: results by system, seed and, for local-only, site; any system may be missing.
        folder: made where it does not exist; what else is in it stays.

    Returns:
        The path of ``comparison.html``, one file that opens offline.

    Raises:
        RunError: when the disk refuses; an earlier comparison is then kept.
    """
    figures = comparison_figures(comparison) if comparison.results else {}
    built = (_systems, _local_sites, _differences, system_honesty_table, system_class_table, _results, _settings)
    tables = {table.name: table for table in (build(comparison) for build in built) if table.rows}
    seeds = len({result.seed for result in comparison.results})
    page = render(
        "comparison.html.j2",
        comparison=comparison,
        command=compare_command(comparison.bundle.name, seeds, comparison.settings),
        title=words(comparison.bundle.name),
        created=readable_time(comparison.created),
        measures=comparison_measures(comparison),
        figures={name: data_address(png) for name, png in figures.items()},
        tables=tables,
        seeds=seeds,
        steps=_steps(comparison),
        intervals=interval_in_words(comparison),
        won=[result.seed for result in comparison.results if result.by_construction],
    )
    files = {f"figures/{name}.png": png for name, png in figures.items()}
    files |= {f"tables/{name}.csv": table.csv() for name, table in tables.items()}
    files |= {"comparison.json": strict_json(comparison), "comparison.html": page}
    known = [f"figures/figure_{index}.png" for index in (2, 3)] + [f"tables/{name}.csv" for name in _TABLES]
    write_files(folder, files, retired=known)
    return folder / "comparison.html"


def _quantities(comparison: Comparison) -> dict[str, tuple[str, Read]]:
    metrics = {name: (words(name), metric(name)) for name in comparison_measures(comparison).in_brief}
    return {
        **metrics,
        "privacy": ("Privacy P", privacy),
        "e": ("E", explainability),
        "e_chance": ("Chance", explainability_chance),
    }


def _figures(comparison: Comparison) -> list[Column]:
    columns = [Column(key=key, heading=heading, kind="figure") for key, (heading, _) in _quantities(comparison).items()]
    return [*columns, Column(key="trust", heading="Trust")]


def _row(comparison: Comparison, system: SystemName, site: str | None = None) -> dict[str, Cell]:
    figures: dict[str, Cell] = {
        key: system_figure(comparison, system, read, site=site, high=_most(key))
        for key, (_, read) in _quantities(comparison).items()
    }
    return {**figures, "trust": marked(system_trust(comparison, system, site=site))}


def _most(key: str) -> float:
    return math.inf if is_length(key) else 1.0


def _systems(comparison: Comparison) -> Table:
    rows: list[dict[str, Cell]] = [
        {"system": words(system), **_row(comparison, system)} for system in systems_present(comparison)
    ]
    columns = [Column(key="system", heading="System"), *_figures(comparison)]
    return Table(name="systems", title="The systems over seeds", columns=columns, rows=rows)


def _local_sites(comparison: Comparison) -> Table:
    rows: list[dict[str, Cell]] = [
        {"site": site, **_row(comparison, "local-only", site)} for site in local_sites(comparison)
    ]
    columns = [Column(key="site", heading="Site"), *_figures(comparison)]
    return Table(name="local_sites", title="Local only, site by site", columns=columns, rows=rows)


def _differences(comparison: Comparison) -> Table:
    """Each other system against centralised training, paired by seed."""
    present, quantities = systems_present(comparison), _quantities(comparison)
    shown = (*comparison_measures(comparison).in_brief, "e")
    rows: list[dict[str, Cell]] = [
        {
            "system": f"{words(system)} − centralised",
            **{
                key: paired_difference(comparison, system, "centralised", quantities[key][1], high=_most(key))
                for key in shown
            },
        }
        for system in present
        if system != "centralised" and "centralised" in present
    ]
    columns = [Column(key="system", heading="Difference")]
    columns += [column for column in _figures(comparison) if column.key in shown]
    return Table(name="differences", title="Differences, paired by seed", columns=columns, rows=rows)


def _results(comparison: Comparison) -> Table:
    quantities = _quantities(comparison)
    columns = [
        Column(key="system", heading="System"),
        Column(key="site", heading="Site"),
        Column(key="seed", heading="Seed", kind="count"),
        Column(key="steps", heading="Steps", kind="count"),
        *(Column(key=key, heading=heading, kind="number") for key, (heading, _) in quantities.items()),
        Column(key="trust", heading="Trust"),
        Column(key="seconds", heading="Time", kind="seconds"),
    ]
    rows: list[dict[str, Cell]] = [
        {
            "system": words(result.system),
            "site": result.site,
            "seed": result.seed,
            "steps": result.steps,
            **{key: read(result) for key, (_, read) in quantities.items()},
            "trust": marked(trust(result)),
            "seconds": result.seconds,
        }
        for result in comparison.results
    ]
    return Table(name="results", title="Every result", columns=columns, rows=rows)


def _settings(comparison: Comparison) -> Table:
    columns = (Column(key="setting", heading="Setting"), Column(key="value", heading="Value"))
    rows: list[dict[str, Cell]] = [{"setting": key, "value": value} for key, value in comparison.settings.items()]
    return Table(name="settings", title="Settings", columns=columns, rows=rows)


def _steps(comparison: Comparison) -> list[int]:
    return sorted({result.steps for result in comparison.results})
