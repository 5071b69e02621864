# SPDX-License-Identifier: Apache-2.0
"""How the best model was chosen: by its metric alone, and with the floor on E."""

from fedxai.figures import DECIMALS
from fedxai.records import Choice, RunSummary
from fedxai.report.tables import Cell, Column, Table
from fedxai.report.words import UNKNOWN, in_a_sentence, number

METRIC_ALONE, WITH_FLOOR = "by the metric alone", "with the floor on E"


def choice_sentence(choice: Choice) -> str:
    """What was chosen, by which rule, and what the other rule would have chosen."""
    metric, chosen = in_a_sentence(choice.key_metric), f"round {choice.round}"
    if choice.e_floor is None:
        return f"The best model is that of {chosen}, which has the highest validation {metric}; no floor on E was set."
    floor = f"floor of {number(choice.e_floor)}"
    if choice.e is not None and choice.e < choice.e_floor:
        start = f"The E of no model that was validated reached the {floor}, so the last one ({chosen}) was taken"
    elif choice.e is None:
        start = (
            f"The best model is that of {chosen}, which has the highest validation {metric}; its E was not known, so "
            f"the {floor} was not asked of it"
        )
    else:
        start = (
            f"The best model is that of {chosen}, which has the highest validation {metric} where E reaches the {floor}"
        )
    if choice.round == choice.round_by_metric:
        return f"{start}; the metric alone would have chosen the same."
    return (
        f"{start}; the metric alone would have chosen round {choice.round_by_metric}. The floor changed {metric} by "
        f"{_signed(_difference(choice.metric, choice.metric_by_metric))} and E by "
        f"{_signed(_difference(choice.e, choice.e_by_metric))}."
    )


def choice_table(summary: RunSummary) -> Table:
    """A row a rule, the second with its difference from the first; only the first where no floor was set."""
    choice = summary.choice
    metric = in_a_sentence(choice.key_metric) if choice else "metric"
    columns = (
        Column(key="rule", heading="Chosen"),
        Column(key="round", heading="Round", kind="count"),
        Column(key="metric", heading=f"Validation {metric}", kind="number"),
        Column(key="e", heading="Validation E", kind="number"),
        Column(key="metric_difference", heading=f"Difference in {metric}", kind="number"),
        Column(key="e_difference", heading="Difference in E", kind="number"),
    )
    rows = _rows(choice) if choice else []
    return Table(name="choice", title="How the best model was chosen", columns=columns, rows=rows)


def _rows(choice: Choice) -> list[dict[str, Cell]]:
    alone: dict[str, Cell] = {
        "rule": METRIC_ALONE,
        "round": choice.round_by_metric,
        "metric": choice.metric_by_metric,
        "e": choice.e_by_metric,
        "metric_difference": None,
        "e_difference": None,
    }
    floored: dict[str, Cell] = {
        "rule": WITH_FLOOR,
        "round": choice.round,
        "metric": choice.metric,
        "e": choice.e,
        "metric_difference": _difference(choice.metric, choice.metric_by_metric),
        "e_difference": _difference(choice.e, choice.e_by_metric),
    }
    return [alone] if choice.e_floor is None else [alone, floored]


def _difference(chosen: float | None, other: float | None) -> float | None:
    return None if chosen is None or other is None else round(chosen - other, DECIMALS)


def _signed(value: float | None) -> str:
    text = number(value)
    return text if text == UNKNOWN or value is None or value <= 0 else f"+{text}"
