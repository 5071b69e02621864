# SPDX-License-Identifier: Apache-2.0
"""The warning that a model wins its E by construction: which model, and what says so."""

from fedxai.records import CONSTRUCTION_FIGURES, HEADLINE_METHOD, ModelSummary, RunSummary
from fedxai.report.reading import distinct_models, method_named, named, score_of, value_of
from fedxai.report.words import number

WON = "E is won by construction"


def construction_warnings(summary: RunSummary) -> list[str]:
    """One text for each final model whose E is won by construction, the model the report leads with first."""
    return [f"{named(model)}.{_evidence(model)}" for model in distinct_models(summary) if model.by_construction]


def _evidence(model: ModelSummary) -> str:
    """The figures that the verdict rests on, as a sentence each; nothing where the battery left none."""
    if model.honesty is None:
        return ""
    figures = model.honesty.figures
    mass, ceiling, here, grey, there = (number(value_of(figures.get(name))) for name in CONSTRUCTION_FIGURES)
    e = number(value_of(score_of(method_named(model.explanation, HEADLINE_METHOD))))
    soft = figures.get("soft_mass")
    gate = f" Through the soft path of its gate E is {number(soft.value)}." if soft else ""
    return (
        f" E is {e} by its maps and {mass} by hiding parts of the image, which could show {ceiling}. Filling the "
        f"region lowers the probability of the answer by {here}, with its own mean by {grey}, filling another place "
        f"by {there}.{gate}"
    )
