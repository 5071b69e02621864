# SPDX-License-Identifier: Apache-2.0
"""Methods by sites: E beside its chance level and the trust verdict, as a page's grid and as CSV tables."""

from dataclasses import dataclass

from fedxai.records import MethodSummary, RunSummary
from fedxai.report.reading import chance_of, explanations_of, headline_model, method_named, score_of, value_of
from fedxai.report.tables import Cell, Column, Table, show_figure
from fedxai.report.verdict import Verdict, failed_tests, verdict_of
from fedxai.report.words import number, words

ALL_SITES = "all sites"


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """One method at one site, as the page shows it."""

    e: str
    chance: str
    verdict: Verdict
    failed: str  # the tests that failed, in words


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Methods by sites: a row a method, a column a site; None where a site did not answer with the method."""

    sites: list[str]
    rows: dict[str, list[GridCell | None]]

    @property
    def tested(self) -> bool:
        """Whether any method took a trust test anywhere."""
        return any(cell is not None and cell.verdict != "not run" for cells in self.rows.values() for cell in cells)

    @property
    def failing(self) -> list[str]:
        """The methods that failed over all sites together, else at any site."""
        return [method for method, cells in self.rows.items() if _fails(cells)]


def method_grid(summary: RunSummary) -> Grid:
    """E, chance and verdict of every method of the headline model at every site and over all."""
    answers = _answers(summary)
    methods = list(dict.fromkeys(method.method for listed in answers.values() for method in listed))
    rows = {words(name): [_cell(method_named(listed, name)) for listed in answers.values()] for name in methods}
    return Grid(sites=list(answers), rows=rows)


def trust_tables(summary: RunSummary) -> list[Table]:
    """``method_sites``: a row a method and site; ``trust``: a row a method, site and test."""
    return [_method_sites(summary), _trust(summary)]


def _answers(summary: RunSummary) -> dict[str, list[MethodSummary]]:
    model = headline_model(summary)
    pooled = {ALL_SITES: list(model.explanation)} if model and model.explanation else {}
    return pooled | {site: list(answer.methods) for site, answer in explanations_of(summary).items()}


def _cell(method: MethodSummary | None) -> GridCell | None:
    if method is None:
        return None
    return GridCell(
        e=show_figure(score_of(method)),
        chance=number(value_of(chance_of(method))),
        verdict=verdict_of(method),
        failed=", ".join(failed_tests(method.trust)),
    )


def _fails(cells: list[GridCell | None]) -> bool:
    return any(cell is not None and cell.verdict == "failed" for cell in cells)


def _method_sites(summary: RunSummary) -> Table:
    columns = (
        Column(key="method", heading="Method"),
        Column(key="site", heading="Site"),
        Column(key="e", heading="E", kind="figure"),
        Column(key="chance", heading="Chance", kind="figure"),
        Column(key="verdict", heading="Trust"),
        Column(key="failed", heading="Failed tests"),
        Column(key="scored", heading="Scored", kind="count"),
        Column(key="unscored", heading="Not scored", kind="count"),
    )
    rows: list[dict[str, Cell]] = [
        {
            "method": words(method.method),
            "site": site,
            "e": score_of(method),
            "chance": chance_of(method),
            "verdict": verdict_of(method),
            "failed": ", ".join(failed_tests(method.trust)),
            "scored": method.scored,
            "unscored": method.unscored,
        }
        for site, listed in _answers(summary).items()
        for method in listed
    ]
    return Table(name="method_sites", title="Methods by sites", columns=columns, rows=rows)


def _trust(summary: RunSummary) -> Table:
    columns = (
        Column(key="method", heading="Method"),
        Column(key="site", heading="Site"),
        Column(key="test", heading="Test"),
        Column(key="value", heading="Value", kind="figure"),
        Column(key="threshold", heading="Threshold", kind="number"),
        Column(key="outcome", heading="Outcome"),
    )
    rows: list[dict[str, Cell]] = [
        {
            "method": words(method.method),
            "site": site,
            "test": words(test.name),
            "value": test.value,
            "threshold": test.threshold,
            "outcome": test.outcome,
        }
        for site, listed in _answers(summary).items()
        for method in listed
        for test in method.trust
    ]
    return Table(name="trust", title="Every trust test", columns=columns, rows=rows)
