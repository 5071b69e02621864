# SPDX-License-Identifier: Apache-2.0
"""The tables of a federated run, as its page shows them and its CSV files hold them."""

from collections.abc import Sequence

from fedxai.records import Evaluation, Explanation, RunSummary
from fedxai.report.baseline_table import baseline_table
from fedxai.report.choice_table import choice_table
from fedxai.report.class_table import class_table
from fedxai.report.course_tables import course_tables
from fedxai.report.honesty_table import honesty_table
from fedxai.report.measures import run_measures
from fedxai.report.places_table import places_table
from fedxai.report.reading import (
    chance_of,
    evaluations_of,
    explanations_of,
    headline_model,
    method_of,
    score_of,
    shown_method,
)
from fedxai.report.shortcut_report import shortcut_table
from fedxai.report.site_agreement_table import site_agreement_table
from fedxai.report.tables import Cell, Column, Table
from fedxai.report.trust_tables import trust_tables
from fedxai.report.verdict import marked, verdict_of
from fedxai.report.words import words


def run_tables(summary: RunSummary) -> dict[str, Table]:
    """Every table of the run by name; tables without a row are left out."""
    tables = [_models(summary), choice_table(summary), _sites(summary), *trust_tables(summary), _methods(summary)]
    tables += [_baselines(summary), class_table(summary), honesty_table(summary), shortcut_table(summary)]
    tables += [places_table(summary), site_agreement_table(summary), _confusion(summary)]
    tables += course_tables(summary)
    return {table.name: table for table in tables if table.rows}


TABLE_NAMES = (
    "models",
    "choice",
    "sites",
    "method_sites",
    "trust",
    "methods",
    "baselines",
    "classes",
    "honesty",
    "shortcuts",
    "places",
    "site_agreement",
    "confusion",
    "rounds",
    "site_rounds",
    "missing",
    "bytes",
    "privacy",
    "settings",
    "versions",
)


def _models(summary: RunSummary) -> Table:
    columns = [Column(key="model", heading="Model"), Column(key="round", heading="Round", kind="count")]
    names = run_measures(summary).listed
    columns += [Column(key=name, heading=words(name), kind="figure") for name in names]
    rows: list[dict[str, Cell]] = [
        {"model": model.which, "round": model.round, **{name: model.metrics.get(name) for name in names}}
        for model in summary.final
    ]
    return Table(name="models", title="The global models, all sites together", columns=columns, rows=rows)


def _sites(summary: RunSummary) -> Table:
    method, evaluations, explanations = (
        shown_method(summary),
        evaluations_of(summary),
        explanations_of(summary),
    )
    cases = {site.name: site.cases for site in summary.sites}
    leading = (run_measures(summary).first, run_measures(summary).second)
    rows: list[dict[str, Cell]] = []
    for name in dict.fromkeys([*cases, *evaluations, *explanations]):
        held = cases.get(name)
        rows.append(
            {
                "site": name,
                "training": held.training if held else None,
                "validation": held.validation if held else None,
                "test": held.test if held else None,
                **_site_metrics(evaluations.get(name), leading),
                **_site_figures(explanations.get(name), method),
            }
        )
    metrics = (Column(key=name, heading=words(name), kind="figure") for name in leading)
    columns = (*_SITE_CASES, *metrics, *_SITE_EXPLANATION)
    return Table(name="sites", title="Site by site", columns=columns, rows=rows)


_SITE_CASES = (
    Column(key="site", heading="Site"),
    Column(key="training", heading="Training", kind="count"),
    Column(key="validation", heading="Validation", kind="count"),
    Column(key="test", heading="Test", kind="count"),
)
_SITE_EXPLANATION = (
    Column(key="e", heading="E", kind="figure"),
    Column(key="e_chance", heading="Chance", kind="number"),
    Column(key="pointing", heading="Pointing", kind="figure"),
    Column(key="trust", heading="Trust"),
    Column(key="scored", heading="Scored", kind="count"),
    Column(key="unscored", heading="Not scored", kind="count"),
)


def _site_metrics(evaluation: Evaluation | None, names: Sequence[str]) -> dict[str, Cell]:
    return {name: evaluation.metrics.get(name) if evaluation else None for name in names}


def _site_figures(explanation: Explanation | None, method: str) -> dict[str, Cell]:
    answer = method_of(explanation, method)
    chance = chance_of(answer)
    return {
        "e": score_of(answer),
        "e_chance": chance.value if chance else None,
        "pointing": score_of(answer, "pointing_game"),
        "trust": marked(verdict_of(answer)) if answer else None,
        "scored": answer.scored if answer else None,
        "unscored": answer.unscored if answer else None,
    }


def _methods(summary: RunSummary) -> Table:
    columns = (
        Column(key="method", heading="Method"),
        Column(key="trust", heading="Trust"),
        Column(key="reading", heading="Reading"),
        Column(key="score", heading="Score", kind="figure"),
        Column(key="chance", heading="Chance", kind="figure"),
        Column(key="centred", heading="Centred blob", kind="figure"),
        Column(key="undefined", heading="Undefined", kind="count"),
        Column(key="scored", heading="Scored", kind="count"),
        Column(key="unscored", heading="Not scored", kind="count"),
    )
    model = headline_model(summary)
    rows: list[dict[str, Cell]] = [
        {
            "method": words(method.method),
            "trust": marked(verdict_of(method)),
            "reading": words(name),
            "score": figure,
            "chance": method.chance.get(name),
            "centred": method.centred.get(name),
            "undefined": method.undefined.get(name, 0),
            "scored": method.scored,
            "unscored": method.unscored,
        }
        for method in (model.explanation if model else [])
        for name, figure in sorted(method.scores.items(), key=lambda item: _reading_rank(item[0]))
    ]
    return Table(name="methods", title="Every method in every reading", columns=columns, rows=rows)


def _baselines(summary: RunSummary) -> Table:
    model = headline_model(summary)
    return baseline_table(model.explanation if model else [])


def _reading_rank(name: str) -> tuple[int, str]:
    order = ("relevance_mass", "relevance_mass_positive", "relevance_mass_signed", "pointing_game")
    return (order.index(name) if name in order else len(order), name)


def _confusion(summary: RunSummary) -> Table:
    """Long form: one row a cell; a cell that was held back has no count."""
    columns = (
        Column(key="site", heading="Site"),
        Column(key="true", heading="True"),
        Column(key="predicted", heading="Predicted"),
        Column(key="cases", heading="Cases", kind="count"),
    )
    model = headline_model(summary)
    matrices = {"all sites": model.confusion} if model and model.confusion else {}
    matrices |= {name: evaluation.confusion for name, evaluation in evaluations_of(summary).items()}
    names = dict(enumerate(summary.bundle.class_names))
    rows: list[dict[str, Cell]] = [
        {
            "site": site,
            "true": names.get(true, str(true)),
            "predicted": names.get(guess, str(guess)),
            "cases": cell,
        }
        for site, matrix in matrices.items()
        for true, cells in enumerate(matrix)
        for guess, cell in enumerate(cells)
    ]
    return Table(name="confusion", title="Confusion", columns=columns, rows=rows)
