# SPDX-License-Identifier: Apache-2.0
"""The report of a run: ``summary.json``, ``report.html``, ``figures/*.png`` and ``tables/*.csv``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedxai.records import Figure, ModelSummary, PrivacyScore, RunSummary
from fedxai.report.choice_table import choice_sentence
from fedxai.report.construction import WON, construction_warnings
from fedxai.report.course_tables import attendance
from fedxai.report.files import strict_json, write_files
from fedxai.report.honesty_table import honesty_meanings
from fedxai.report.measures import run_measures, selection_name
from fedxai.report.page import data_address, render
from fedxai.report.reading import (
    chance_of,
    explanations_of,
    headline_method,
    headline_model,
    score_of,
    shown_method,
    site_names,
    value_of,
)
from fedxai.report.reproduce import run_command
from fedxai.report.run_figures import FIGURE_NAMES, run_figures
from fedxai.report.run_tables import TABLE_NAMES, run_tables
from fedxai.report.shortcut_report import alarm_boxes, search_lines, search_notes
from fedxai.report.tables import Table, show_interval
from fedxai.report.trust_tables import method_grid
from fedxai.report.verdict import marked, verdict_of
from fedxai.report.words import UNKNOWN, count, explained_cases, number, plural, readable_time, words


@dataclass(frozen=True, kw_only=True)
class Headline:
    """One large number at the top of the page: what it is, how sure it is, what it is read against."""

    label: str
    value: str
    beside: str
    below: str


def write_report(summary: RunSummary, folder: Path) -> Path:
    """Write everything a run leaves to read (contract 6).

    The files are prepared in full before the first one is moved into its place, the page last; where anything
    fails, an earlier report stays as it was.

    Args:
        summary: the run; any part may be missing (no model, no explanation, figures without a value).
        folder: made where it does not exist; what else is in it stays.

    Returns:
        The path of ``report.html``: one file that opens offline and needs nothing beside it.

    Raises:
        RunError: when the disk refuses.
    """
    figures, tables = run_figures(summary), run_tables(summary)
    page = _page(summary, figures, tables)
    files = {f"figures/{name}.png": png for name, png in figures.items()}
    files |= {f"tables/{name}.csv": table.csv() for name, table in tables.items()}
    files |= {"summary.json": strict_json(summary), "report.html": page}
    known = {f"figures/{name}.png" for name in FIGURE_NAMES} | {f"tables/{name}.csv" for name in TABLE_NAMES}
    write_files(folder, files, retired=known)
    return folder / "report.html"


def _page(summary: RunSummary, figures: Mapping[str, bytes], tables: Mapping[str, Table]) -> bytes:
    return render(
        "run.html.j2",
        summary=summary,
        title=words(summary.bundle.name),
        created=readable_time(summary.created),
        command=run_command(summary.job, summary.bundle.name, summary.settings),
        model=headline_model(summary),
        method=shown_method(summary),
        measures=run_measures(summary),
        selection=selection_name(summary),
        given=summary.settings.get("rounds") == 0,
        trained_at=len({site.name for part in summary.rounds for site in part.sites}),
        headlines=headlines(summary),
        figures={name: data_address(png) for name, png in figures.items()},
        tables=tables,
        grid=method_grid(summary),
        attendance=attendance(summary),
        sites=site_names(summary),
        explained=bool(explanations_of(summary)),
        choice=choice_sentence(summary.choice) if summary.choice else None,
        constructions=construction_warnings(summary),
        meanings=honesty_meanings(summary),
        alarms=alarm_boxes(summary),
        searches=search_lines(summary),
        search_notes=search_notes(summary),
    )


def headlines(summary: RunSummary) -> list[Headline]:
    """The two leading metrics, E and P of the model the report leads with."""
    model = headline_model(summary)
    metrics, measures = model.metrics if model else {}, run_measures(summary)
    return [
        *(_diagnosis(words(name), metrics.get(name)) for name in (measures.first, measures.second)),
        _explainability(model),
        _privacy(summary.privacy),
    ]


def _diagnosis(label: str, figure: Figure | None) -> Headline:
    if figure is None or figure.value is None:
        return Headline(label=label, value=UNKNOWN, beside="undefined", below="no test figures")
    return Headline(
        label=label, value=number(figure.value), beside=_interval(figure), below=plural(figure.n, "test case")
    )


def _explainability(model: ModelSummary | None) -> Headline:
    method = headline_method(model.explanation) if model else None
    score, chance = score_of(method), value_of(chance_of(method))
    label = "Explainability E"
    if method is None or score is None or score.value is None:
        return Headline(label=label, value=UNKNOWN, beside="undefined", below="no scored explanation")
    times = f"{score.value / chance:.1f} × " if chance else ""
    cases = explained_cases(score.n, by_class=bool(model and model.classes))
    return Headline(
        label=label,
        value=number(score.value),
        beside=_interval(score),
        below=f"{times}chance ({number(chance)}), {words(method.method).lower()}, {cases}; "
        f"trust {marked(verdict_of(method))}{f'; {WON}' if model and model.by_construction else ''}",
    )


def _privacy(privacy: PrivacyScore) -> Headline:
    total = plural(privacy.case_records_total, "case record")
    below = f"{count(privacy.case_records_shared)} of {total} left a site"
    value = number(privacy.score)
    if privacy.case_records_shared and value == "1.000":
        value = "< 1"  # rounding must not hide that something left
    return Headline(label="Privacy P", value=value, beside="Eq. 6, counted", below=below)


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return "no interval"
    return show_interval(figure.low, figure.high)
