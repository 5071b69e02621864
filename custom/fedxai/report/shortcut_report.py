# SPDX-License-Identifier: Apache-2.0
"""Shortcut alarms as a report shows them: the sentence of each, what was tested, and a table."""

from dataclasses import dataclass

from fedxai.records import RunSummary, ShortcutAlarm, ShortcutSearch
from fedxai.report.reading import distinct_models, headline_model, named
from fedxai.report.tables import Cell, Column, Table, show_interval
from fedxai.report.words import number, plural, probability


@dataclass(frozen=True, kw_only=True)
class AlarmBox:
    """One alarm: where, what to do about it, and how sure it is."""

    where: str
    advice: str
    sure: str


def alarm_boxes(summary: RunSummary) -> list[AlarmBox]:
    """The alarms of the model that the report leads with."""
    search = _search(summary)
    tests = search.tests if search else 0
    return [
        AlarmBox(where=_where(alarm, summary), advice=alarm.advice, sure=_sure(alarm, tests))
        for alarm in (search.alarms if search else [])
    ]


def alarm_lines(summary: RunSummary) -> list[str]:
    """One line an alarm, for a terminal: site, class and place, the share beside what was expected, p."""
    search = _search(summary)
    return [
        f"Shortcut alarm: {_where(alarm, summary)}: {number(alarm.share.value)} of the relevance, expected "
        f"{number(alarm.expected)} (adjusted p {probability(alarm.p_adjusted)}); see the report"
        for alarm in (search.alarms if search else [])
    ]


def search_lines(summary: RunSummary) -> list[str]:
    """For each final model that was searched, how many alarms in how many tests."""
    return [
        f"{named(model).capitalize()}: {_outcome(model.shortcuts)}."
        for model in distinct_models(summary)
        if model.shortcuts is not None
    ]


def search_notes(summary: RunSummary) -> list[str]:
    """What the search could not test for the model that the report leads with."""
    search = _search(summary)
    return list(search.notes) if search else []


def shortcut_table(summary: RunSummary) -> Table:
    """A row a final model and alarm."""
    columns = (
        Column(key="model", heading="Model"),
        Column(key="site", heading="Site"),
        Column(key="class", heading="Class"),
        Column(key="place", heading="Place"),
        Column(key="share", heading="Share", kind="figure"),
        Column(key="expected", heading="Expected", kind="number"),
        Column(key="p_adjusted", heading="Adjusted p", kind="probability"),
    )
    rows: list[dict[str, Cell]] = [
        {
            "model": model.which,
            "site": alarm.site,
            "class": _class(alarm, summary),
            "place": _place(alarm),
            "share": alarm.share,
            "expected": alarm.expected,
            "p_adjusted": alarm.p_adjusted,
        }
        for model in summary.final
        if model.shortcuts is not None
        for alarm in model.shortcuts.alarms
    ]
    return Table(name="shortcuts", title="Every shortcut alarm", columns=columns, rows=rows)


def _search(summary: RunSummary) -> ShortcutSearch | None:
    model = headline_model(summary)
    return model.shortcuts if model else None


def _where(alarm: ShortcutAlarm, summary: RunSummary) -> str:
    return f"{alarm.site}, {_class(alarm, summary)}, {_place(alarm)}"


def _sure(alarm: ShortcutAlarm, tests: int) -> str:
    low, high = alarm.share.low, alarm.share.high
    interval = "" if low is None or high is None else f" ({show_interval(low, high)})"
    return (
        f"Share {number(alarm.share.value)}{interval} over {plural(alarm.share.n, 'case')}, expected "
        f"{number(alarm.expected)}; p {probability(alarm.p_adjusted)}, adjusted for {plural(tests, 'test')}."
    )


def _outcome(search: ShortcutSearch) -> str:
    if not search.tests:
        return "nothing could be tested"
    found = plural(len(search.alarms), "alarm") if search.alarms else "no alarm"
    return f"{found} in {plural(search.tests, 'test')}"


def _class(alarm: ShortcutAlarm, summary: RunSummary) -> str:
    return dict(enumerate(summary.bundle.class_names)).get(alarm.class_index, f"class {alarm.class_index}")


def _place(alarm: ShortcutAlarm) -> str:
    kind, *piece = alarm.place.split("_")
    return f"{kind} {'-'.join(piece)}".strip()
