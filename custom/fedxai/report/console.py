# SPDX-License-Identifier: Apache-2.0
"""What the terminal shows: one line a round, and at the end a short table and where the report is."""

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedxai.records import E_SCORE, HEADLINE_METHOD, Explanation, Figure, MethodSummary, RoundSummary, RunSummary
from fedxai.report.construction import WON, construction_warnings
from fedxai.report.honesty_table import figures_asked
from fedxai.report.measures import run_measures
from fedxai.report.reading import (
    chance_of,
    evaluations_of,
    explanations_of,
    headline_method,
    headline_model,
    method_of,
    round_scores,
    score_of,
    shown_method,
)
from fedxai.report.shortcut_report import alarm_lines
from fedxai.report.unanswered import unanswered_lines
from fedxai.report.verdict import failed_tests, marked, verdict_of
from fedxai.report.words import UNKNOWN, count, duration, number, plural, size, words


def round_line(round_summary: RoundSummary, rounds: int, seconds_left: float | None) -> str:
    """One line for one round: round, sites, loss, metric, E beside chance, who was missing, time left.

    Args:
        round_summary: the round, counted from 1.
        rounds: how many rounds the run has.
        seconds_left: an estimate for the rest of the run, or None where there is none yet.

    Example:
        >>> round_line(summary.rounds[2], rounds=6, seconds_left=41.0)  # doctest: +SKIP
        'round 3/6 · 3 sites · loss 0.540 · metric 0.882 · E 0.240 (chance 0.084) · 41 s left'
    """
    parts = [
        f"round {round_summary.round:>{len(str(rounds))}}/{rounds}",
        plural(len(round_summary.sites), "site"),
        f"loss {number(round_summary.global_loss)}",
        f"metric {number(round_summary.selection_metric)}",
    ]
    e, chance = round_scores(round_summary, _method_of_round(round_summary))
    if e is not None:
        parts.append(f"E {number(e)} (chance {number(chance)})")
    if round_summary.missing:
        parts.append(f"missing {', '.join(absence.name for absence in round_summary.missing)}")
    if seconds_left is not None:
        parts.append(f"{duration(seconds_left)} left")
    return " · ".join(parts)


def print_summary(summary: RunSummary, report_path: Path, *, console: Console | None = None) -> None:
    """A table with a row a site and one for all, what left, and the path of the report."""
    terminal = console or Console()
    model, method = headline_model(summary), shown_method(summary)
    which = f"{model.which} model, round {model.round}" if model else "no final model"
    table = Table(box=SIMPLE_HEAD, title=Text(f"{words(summary.bundle.name)}: {which}"), title_justify="left")
    table.add_column("Site", overflow="fold")
    leading = (run_measures(summary).first, run_measures(summary).second)
    for heading in ("Cases", *map(words, leading), "E", "Chance"):
        table.add_column(heading, justify="right")
    evaluations, explanations = evaluations_of(summary), explanations_of(summary)
    for site in summary.sites:
        evaluation = evaluations.get(site.name)
        held = site.cases.training + site.cases.validation + site.cases.test
        answer = method_of(explanations.get(site.name), method)
        table.add_row(Text(site.name), count(held), *_cells(evaluation.metrics if evaluation else {}, leading, answer))
    if model:
        table.add_section()
        held = sum(site.cases.training + site.cases.validation + site.cases.test for site in summary.sites)
        pooled = headline_method(model.explanation)
        table.add_row("all sites", count(held), *_cells(model.metrics, leading, pooled), style="bold")
    terminal.print(table)
    for line in _closing_lines(summary, method):
        terminal.print(Text(line), soft_wrap=True)
    terminal.print(Text(f"Report: {report_path}"), soft_wrap=True)


def print_explanation(
    explanation: Explanation, page: Path, *, class_names: Sequence[str] = (), console: Console | None = None
) -> None:
    """A row a method: E beside its chance level, the trust verdict, the cases behind it; then where the page is.

    Of a segmentation, a row a class and method follows. Below stands the honesty battery, where it was asked, and what
    had no answer.
    """
    terminal = console or Console()
    title = f"Where the model looks: {plural(explanation.cases, 'case')} of the {explanation.split} split"
    table = Table(box=SIMPLE_HEAD, title=Text(title), title_justify="left")
    table.add_column("Method", overflow="fold")
    for heading in ("E", "Chance", "Scored"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Trust", min_width=len("randomisation,"))
    of_classes = [(class_names[part.class_index], part.methods) for part in explanation.classes]
    for name, method in [(name, m) for name, methods in [("", explanation.methods), *of_classes] for m in methods]:
        defined = method.scored - method.undefined.get(E_SCORE, 0)
        figures = (score_of(method), chance_of(method))
        failed = failed_tests(method.trust)
        table.add_row(
            Text(f"{name}: {words(method.method)}" if name else words(method.method)),
            *(UNKNOWN if figure is None else number(figure.value) for figure in figures),
            f"{count(defined)} of {count(method.scored + method.unscored)}",
            marked(verdict_of(method)) + (f": {', '.join(failed)}" if failed else ""),
        )
    terminal.print(table)
    _print_honesty(explanation, class_names, terminal)
    for line in unanswered_lines(explanation, class_names):
        terminal.print(Text(f"Note: {line}"), soft_wrap=True)
    took = f"{plural(explanation.passes, 'pass', 'passes')}, {duration(explanation.seconds)}"
    terminal.print(Text(f"{took}. This folder never leaves the site: {page}"), soft_wrap=True)


def _print_honesty(explanation: Explanation, class_names: Sequence[str], terminal: Console) -> None:
    asked = {class_names[part.class_index]: part.honesty for part in explanation.classes} or {"": explanation.honesty}
    known = {name: honesty for name, honesty in asked.items() if honesty is not None}
    if not known:
        return
    table = Table(box=SIMPLE_HEAD, title=Text("Does the model decide by the region?"), title_justify="left")
    table.add_column("")
    for name, honesty in known.items():
        cases = plural(honesty.cases, "case")
        table.add_column(f"{name}, {cases}" if name else cases, justify="right")
    for figure in figures_asked(known.values()):
        values = [honesty.figures.get(figure) for honesty in known.values()]
        table.add_row(words(figure), *(UNKNOWN if value is None else number(value.value) for value in values))
    terminal.print(table)


def _method_of_round(round_summary: RoundSummary) -> str:
    methods = [m for site in round_summary.sites if site.explanation for m in site.explanation.methods]
    chosen = headline_method(methods)
    return chosen.method if chosen else HEADLINE_METHOD


def _cells(metrics: dict[str, Figure], leading: Sequence[str], method: MethodSummary | None) -> list[str]:
    figures = (*map(metrics.get, leading), score_of(method), chance_of(method))
    return [UNKNOWN if figure is None else number(figure.value) for figure in figures]


def _closing_lines(summary: RunSummary, method: str) -> list[str]:
    privacy, model = summary.privacy, headline_model(summary)
    trust = marked(verdict_of(headline_method(model.explanation) if model else None))
    total = plural(privacy.case_records_total, "case record")
    lines = [
        f"E with {words(method).lower()} (trust {trust}); {count(privacy.case_records_shared)} of {total} left a site "
        f"(P {number(privacy.score)}); {size(privacy.update_bytes)} of updates, "
        f"{size(privacy.summary_bytes)} of figures"
    ]
    absences = sum(len(part.missing) for part in summary.rounds)
    if absences:
        lines.append(f"{plural(absences, 'absence')}: see the report for who, when and why")
    lines += [f"{WON}: {warning}" for warning in construction_warnings(summary)]
    return lines + alarm_lines(summary)
