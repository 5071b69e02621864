# SPDX-License-Identifier: Apache-2.0
"""Tables of how a run went: by round, by site, who was missing, what left, with what settings."""

from fedxai.records import Outgoing, RunSummary
from fedxai.report.measures import run_measures
from fedxai.report.reading import round_scores, shown_method, site_names
from fedxai.report.tables import Cell, Column, Table
from fedxai.report.words import in_a_sentence, words


def course_tables(summary: RunSummary) -> list[Table]:
    """The course of the run, what left the sites, settings and versions."""
    return [build(summary) for build in (_rounds, _site_rounds, _missing, _bytes, _privacy, _settings, _versions)]


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
    leading = (run_measures(summary).first, run_measures(summary).second)
    columns = (
        Column(key="round", heading="Round", kind="count"),
        Column(key="site", heading="Site"),
        Column(key="training_loss", heading="Training loss", kind="number"),
        Column(key="loss", heading="Validation loss", kind="figure"),
        *(Column(key=name, heading=f"Validation {in_a_sentence(name)}", kind="figure") for name in leading),
        Column(key="agreement", heading="Maps agree with those before", kind="figure"),
        Column(key="steps", heading="Steps", kind="count"),
        Column(key="seconds", heading="Time", kind="seconds"),
    )
    rows: list[dict[str, Cell]] = [
        {
            "round": part.round,
            "site": site.name,
            "training_loss": site.training_loss,
            **{name: site.validation.get(name) for name in ("loss", *leading)},
            "agreement": site.explanation.agreement if site.explanation else None,
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
    return Table(name="bytes", title="Everything that left, by kind", columns=columns, rows=rows, emphasised=totals)


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
        Column(key="held", heading="Held", kind="count"),
        Column(key="left", heading="Left", kind="count"),
        Column(key="ratio", heading="Left / held", kind="number"),
        Column(key="score", heading="P", kind="number"),
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
    rows: list[dict[str, Cell]] = [{"setting": key, "value": value} for key, value in summary.settings.items()]
    return Table(name="settings", title="Settings", columns=columns, rows=rows)


def _versions(summary: RunSummary) -> Table:
    columns = (Column(key="package", heading="Package"), Column(key="version", heading="Version"))
    rows: list[dict[str, Cell]] = [{"package": key, "version": value} for key, value in summary.versions.items()]
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
