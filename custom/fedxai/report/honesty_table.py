# SPDX-License-Identifier: Apache-2.0
"""The honesty battery beside E, a row a final model, with what each figure means."""

from collections.abc import Iterable

from fedxai.records import HEADLINE_METHOD, Comparison, Honesty, ModelSummary, RunSummary
from fedxai.report.reading import chance_of, method_named, score_of, value_of
from fedxai.report.tables import Cell, Column, Table
from fedxai.report.words import words

_MEANINGS = {
    "occlusion_mass": "The same share as E, found by hiding parts of the image and not by a map of gradients. Far "
    "below E times its ceiling, the map flatters the model. Guided by occlusion, a model was rewarded for this very "
    "share: then believe the other answers.",
    "occlusion_ceiling": "What that share is for a model that sees the region alone: a part that is hidden also holds "
    "what is around, so it cannot be 1.",
    "drop_region": "How far the probability of the answer falls when the region is filled from its surroundings. No "
    "more than elsewhere, the model does not need the region.",
    "drop_elsewhere": "The same for a patch of the region's shape at another place of the body: what any such patch "
    "costs.",
    "drop_grey": "The same when the region is filled with its own mean. Near 0, its shape and place alone give the "
    "answer.",
    "swap_kept": "The share of answers that stay when all but the region and 5 mm around it is another patient's. "
    "Near 1, the region decides.",
    "blank_kept": "The share of answers that stay when all but the region and 5 mm around it is black.",
    "soft_mass": "E when the network's gate lets gradients through: what opens it counts then too. A gate that opens "
    "at the region alone gives a high E whatever it is opened by.",
}
TITLE = "Does the model decide by the region?"
_WON = {True: "yes", False: "no", None: "cannot be said"}


def honesty_table(summary: RunSummary) -> Table:
    """E of gradient × input, its chance level and the battery's figures; models without a battery have no row."""
    columns = [
        Column(key="model", heading="Model"),
        Column(key="cases", heading="Cases asked", kind="count"),
        Column(key="e", heading="E", kind="figure"),
        Column(key="e_chance", heading="Chance", kind="number"),
    ]
    columns += [Column(key=name, heading=words(name), kind="figure") for name in _asked_of(summary)]
    columns.append(Column(key="by_construction", heading="E won by construction"))
    rows = [_row(model, model.honesty) for model in summary.final if model.honesty is not None]
    return Table(name="honesty", title=TITLE, columns=columns, rows=rows)


def system_honesty_table(comparison: Comparison) -> Table:
    """What the battery said of FedXAI-Med's models, a row a seed; the other systems' sites asked nothing."""
    tested = [(result, result.honesty) for result in comparison.results if result.honesty is not None]
    asked = figures_asked(honesty for _, honesty in tested)
    rows: list[dict[str, Cell]] = [
        {
            "system": words(result.system),
            "seed": result.seed,
            **{name: honesty.figures.get(name) for name in asked},
            "by_construction": _WON[result.by_construction],
        }
        for result, honesty in tested
    ]
    columns = [
        Column(key="system", heading="System"),
        Column(key="seed", heading="Seed", kind="count"),
        *(Column(key=name, heading=words(name), kind="figure") for name in asked),
        Column(key="by_construction", heading="E won by construction"),
    ]
    return Table(name="honesty", title=TITLE, columns=columns, rows=rows)


def honesty_meanings(summary: RunSummary) -> dict[str, str]:
    """What the table's columns mean, by heading."""
    return {words(name): _MEANINGS[name] for name in _asked_of(summary)}


def figures_asked(batteries: Iterable[Honesty | None]) -> list[str]:
    """The figures that some battery has, in order: a question to a gate is asked of a gated network only."""
    asked = {name for battery in batteries if battery is not None for name in battery.figures}
    return [name for name in _MEANINGS if name in asked]


def _asked_of(summary: RunSummary) -> list[str]:
    return figures_asked(model.honesty for model in summary.final)


def _row(model: ModelSummary, honesty: Honesty) -> dict[str, Cell]:
    method = method_named(model.explanation, HEADLINE_METHOD)
    return {
        "model": model.which,
        "cases": honesty.cases,
        "e": score_of(method),
        "e_chance": value_of(chance_of(method)),
        **{name: honesty.figures.get(name) for name in _MEANINGS},
        "by_construction": _WON[model.by_construction],
    }
