# SPDX-License-Identifier: Apache-2.0
"""The tables of a federated run, as its page shows them and its CSV files hold them."""

from fedxai.records import Evaluation, Explanation, Outgoing, RunSummary
from fedxai.report.reading import (
    chance_of,
    evaluations_of,
    explanations_of,
    headline_model,
    method_of,
    round_scores,
    score_of,
    shown_method,
    site_names,
)
from fedxai.report.tables import Cell, Column, Table
from fedxai.report.words import words

_METRICS = ("macro_auc", "accuracy", "balanced_accuracy", "macro_f1", "ece", "loss")


def run_tables(summary: RunSummary) -> dict[str, Table]:
    """Every table of the run by name; tables without a row are left out."""
    tables = (
        _models(summary),
        _sites(summary),
        _methods(summary),
        _confusion(summary),
        _rounds(summary),
        _site_rounds(summary),
        _missing(summary),
        _bytes(summary),
        _privacy(summary),
        _settings(summary),
        _versions(summary),
    )
    return {table.name: table for table in tables if table.rows}


TABLE_NAMES = (
    "models",
    "sites",
    "methods",
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
    columns += [Column(key=name, heading=words(name), kind="figure") for name in _METRICS]
    rows: list[dict[str, Cell]] = [
        {"model": model.which, "round": model.round, **{name: model.metrics.get(name) for name in _METRICS}}
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
    rows: list[dict[str, Cell]] = []
    for name in dict.fromkeys([*cases, *evaluations, *explanations]):
        held = cases.get(name)
        rows.append(
            {
                "site": name,
                "training": held.training if held else None,
                "validation": held.validation if held else None,
                "test": held.test if held else None,
                **_site_figures(evaluations.get(name), explanations.get(name), method),
            }
        )
    return Table(name="sites", title="Site by site", columns=_SITE_COLUMNS, rows=rows)


_SITE_COLUMNS = (
    Column(key="site", heading="Site"),
    Column(key="training", heading="Training", kind="count"),
    Column(key="validation", heading="Validation", kind="count"),
    Column(key="test", heading="Test", kind="count"),
    Column(key="macro_auc", heading="Macro AUC", kind="figure"),
    Column(key="accuracy", heading="Accuracy", kind="figure"),
    Column(key="e", heading="E", kind="figure"),
    Column(key="e_chance", heading="Chance", kind="number"),
    Column(key="pointing", heading="Pointing", kind="figure"),
    Column(key="scored", heading="Scored", kind="count"),
    Column(key="unscored", heading="Not scored", kind="count"),
)


def _site_figures(
    evaluation: Evaluation | None, explanation: Explanation | None, method: str
) -> dict[str, Cell]:
    answer = method_of(explanation, method)
    chance = chance_of(answer)
    return {
        "macro_auc": evaluation.metrics.get("macro_auc") if evaluation else None,
        "accuracy": evaluation.metrics.get("accuracy") if evaluation else None,
        "e": score_of(answer),
        "e_chance": chance.value if chance else None,
        "pointing": score_of(answer, "pointing_game"),
        "scored": answer.scored if answer else None,
        "unscored": answer.unscored if answer else None,
    }


def _methods(summary: RunSummary) -> Table:
    columns = (
        Column(key="method", heading="Method"),
        Column(key="reading", heading="Reading"),
        Column(key="score", heading="Score", kind="figure"),
        Column(key="chance", heading="Chance", kind="figure"),
        Column(key="undefined", heading="Undefined", kind="count"),
        Column(key="scored", heading="Scored", kind="count"),
        Column(key="unscored", heading="Not scored", kind="count"),
    )
    model = headline_model(summary)
    rows: list[dict[str, Cell]] = [
        {
            "method": words(method.method),
            "reading": words(name),
            "score": figure,
            "chance": method.chance.get(name),
            "undefined": method.undefined.get(name, 0),
            "scored": method.scored,
            "unscored": method.unscored,
        }
        for method in (model.explanation if model else [])
        for name, figure in sorted(method.scores.items(), key=lambda item: _reading_rank(item[0]))
    ]
    return Table(name="methods", title="Every method in every reading", columns=columns, rows=rows)


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


def _rounds(summary: RunSummary) -> Table:
    columns = (
        Column(key="round", heading="Round", kind="count"),
        Column(key="sites", heading="Sites", kind="count"),
        Column(key="missing", heading="Missing", kind="count"),
        Column(key="global_loss", heading="Loss (Eq. 3)", kind="number"),
        Column(key="selection_metric", heading="Selection metric", kind="number"),
        Column(key="e", heading="E", kind="number"),
        Column(key="e_chance", heading="Chance", kind="number"),
        Column(key="update_bytes", heading="Updates", kind="bytes"),
        Column(key="seconds", heading="Time", kind="seconds"),
    )
    method = shown_method(summary)
    rows: list[dict[str, Cell]] = []
    for part in summary.rounds:
        e, chance = round_scores(part, method)
        rows.append(
            {
                "round": part.round,
                "sites": len(part.sites),
                "missing": len(part.missing),
                "global_loss": part.global_loss,
                "selection_metric": part.selection_metric,
                "e": e,
                "e_chance": chance,
                "update_bytes": part.update_bytes,
                "seconds": part.seconds,
            }
        )
    return Table(name="rounds", title="Round by round", columns=columns, rows=rows)


def _site_rounds(summary: RunSummary) -> Table:
    columns = (
        Column(key="round", heading="Round", kind="count"),
        Column(key="site", heading="Site"),
        Column(key="training_loss", heading="Training loss", kind="number"),
        Column(key="loss", heading="Validation loss", kind="figure"),
        Column(key="macro_auc", heading="Validation AUC", kind="figure"),
        Column(key="accuracy", heading="Validation accuracy", kind="figure"),
        Column(key="steps", heading="Steps", kind="count"),
        Column(key="seconds", heading="Time", kind="seconds"),
    )
    rows: list[dict[str, Cell]] = [
        {
            "round": part.round,
            "site": site.name,
            "training_loss": site.training_loss,
            **{name: site.validation.get(name) for name in ("loss", "macro_auc", "accuracy")},
            "steps": site.steps,
            "seconds": site.seconds,
        }
        for part in summary.rounds
        for site in part.sites
    ]
    return Table(name="site_rounds", title="Every site in every round", columns=columns, rows=rows)


def _missing(summary: RunSummary) -> Table:
    columns = (
        Column(key="round", heading="Round", kind="count"),
        Column(key="site", heading="Site"),
        Column(key="reason", heading="Reason"),
    )
    rows: list[dict[str, Cell]] = [
        {"round": part.round, "site": absence.name, "reason": absence.reason}
        for part in summary.rounds
        for absence in part.missing
    ]
    return Table(name="missing", title="Who was missing, and why", columns=columns, rows=rows)


def _bytes(summary: RunSummary) -> Table:
    columns = (
        Column(key="site", heading="Site"),
        Column(key="kind", heading="Kind"),
        Column(key="messages", heading="Messages", kind="count"),
        Column(key="bytes", heading="Bytes", kind="bytes"),
        Column(key="case_records", heading="Case records", kind="count"),
    )
    rows = [_outgoing_row(site.name, part) for site in summary.sites for part in site.outgoing]
    first_total = len(rows)
    rows += [_outgoing_row("all sites", part) for part in summary.bytes]
    totals = frozenset(range(first_total, len(rows)))
    return Table(
        name="bytes", title="Everything that left, by kind", columns=columns, rows=rows, emphasised=totals
    )


def _outgoing_row(site: str, part: Outgoing) -> dict[str, Cell]:
    return {
        "site": site,
        "kind": words(part.kind),
        "messages": part.messages,
        "bytes": part.bytes,
        "case_records": part.case_records,
    }


def _privacy(summary: RunSummary) -> Table:
    columns = (
        Column(key="counted", heading="Counted in"),
        Column(key="held", heading="Held |D_total|", kind="count"),
        Column(key="left", heading="Left |D_shared|", kind="count"),
        Column(key="ratio", heading="Left / held", kind="number"),
        Column(key="score", heading="P = 1 − left / held", kind="number"),
    )
    p = summary.privacy
    ratio = p.case_records_shared / p.case_records_total if p.case_records_total else None
    rows: list[dict[str, Cell]] = [
        {
            "counted": "case records",
            "held": p.case_records_total,
            "left": p.case_records_shared,
            "ratio": ratio,
            "score": p.score,
        },
        {
            "counted": "bytes",
            "held": p.bytes_total,
            "left": p.bytes_shared,
            "ratio": p.bytes_ratio,
            "score": None if p.bytes_ratio is None else 1 - p.bytes_ratio,
        },
    ]
    return Table(name="privacy", title="Privacy score, Eq. 6", columns=columns, rows=rows)


def _settings(summary: RunSummary) -> Table:
    columns = (Column(key="setting", heading="Setting"), Column(key="value", heading="Value"))
    rows: list[dict[str, Cell]] = [
        {"setting": key, "value": value} for key, value in summary.settings.items()
    ]
    return Table(name="settings", title="Settings", columns=columns, rows=rows)


def _versions(summary: RunSummary) -> Table:
    columns = (Column(key="package", heading="Package"), Column(key="version", heading="Version"))
    rows: list[dict[str, Cell]] = [
        {"package": key, "version": value} for key, value in summary.versions.items()
    ]
    return Table(name="versions", title="Versions", columns=columns, rows=rows)


def attendance(summary: RunSummary) -> tuple[list[int], dict[str, list[str]]]:
    """For every site, one mark a round: ``in``, ``out`` (named as missing) or ``-`` (not asked)."""
    marks = {
        name: [
            "out"
            if any(absence.name == name for absence in part.missing)
            else "in"
            if any(site.name == name for site in part.sites)
            else "-"
            for part in summary.rounds
        ]
        for name in site_names(summary)
    }
    return [part.round for part in summary.rounds], marks
