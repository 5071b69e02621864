# SPDX-License-Identifier: Apache-2.0
"""What a report reads out of a summary: the model it leads with, its method, E of a round."""

import math
from collections.abc import Iterable, Sequence

from fedxai.records import (
    E_SCORE,
    HEADLINE_METHOD,
    Evaluation,
    Explanation,
    Figure,
    MethodSummary,
    ModelSummary,
    RoundSummary,
    RunSummary,
    Task,
)


def explained_quantity(task: Task, target_class: str = "predicted") -> str:
    """What a map explains, the f of Eq. 4, in words; ``fedxai.explain.Question`` has the formula."""
    if task == "segmentation":
        return "the summed logit of a class over the voxels segmented as that class"
    return f"the logit of the {'true' if target_class == 'label' else 'predicted'} class"


def headline_model(summary: RunSummary) -> ModelSummary | None:
    """The best model, else the last one, else None."""
    by_name = {model.which: model for model in summary.final}
    return by_name.get("best") or by_name.get("last")


def distinct_models(summary: RunSummary) -> list[ModelSummary]:
    """The final models, the headline one first; one that stands for the same round is not said twice."""
    headline = headline_model(summary)
    return [headline, *(m for m in summary.final if m.round != headline.round)] if headline else []


def named(model: ModelSummary) -> str:
    """``best model (round 5)``."""
    return f"{model.which} model (round {model.round})"


def headline_method(methods: Sequence[MethodSummary]) -> MethodSummary | None:
    """Gradient × input (Eq. 4) where it was computed, else the first method, else None."""
    by_name = {method.method: method for method in methods}
    return by_name.get(HEADLINE_METHOD) or next(iter(methods), None)


def method_of(explanation: Explanation | None, name: str) -> MethodSummary | None:
    """One method of an answer, None where there is no answer or no such method."""
    if explanation is None:
        return None
    return method_named(explanation.methods, name)


def method_named(methods: Sequence[MethodSummary], name: str) -> MethodSummary | None:
    """The method of that name, else None."""
    return next((method for method in methods if method.method == name), None)


def final_method(summary: RunSummary, name: str) -> MethodSummary | None:
    """The method as the headline model was tested by it, else None."""
    model = headline_model(summary)
    return method_named(model.explanation, name) if model else None


def score_of(method: MethodSummary | None, score: str = E_SCORE) -> Figure | None:
    """A score of a method, by default E with |S|."""
    return method.scores.get(score) if method else None


def chance_of(method: MethodSummary | None, score: str = E_SCORE) -> Figure | None:
    """What a map without information would score: for E, the mean region area fraction."""
    return method.chance.get(score) if method else None


def weighted(figures: Iterable[Figure | None]) -> float | None:
    """The n-weighted mean ``sum(n v) / sum(n)`` of the figures that have a value, else None."""
    known = [(f.n, f.value) for f in figures if f is not None and f.value is not None and f.n > 0]
    total = sum(n for n, _ in known)
    return math.fsum(n * value for n, value in known) / total if total else None


def round_scores(round_summary: RoundSummary, method: str = HEADLINE_METHOD) -> tuple[float | None, float | None]:
    """E and its chance level over the sites that explained in this round."""
    answers = [method_of(site.explanation, method) for site in round_summary.sites]
    return weighted(map(score_of, answers)), weighted(map(chance_of, answers))


def shown_method(summary: RunSummary) -> str:
    """The method that headline figures quote."""
    model = headline_model(summary)
    chosen = headline_method(model.explanation) if model else None
    return chosen.method if chosen else HEADLINE_METHOD


def site_names(summary: RunSummary) -> list[str]:
    """Every site that appears anywhere in the summary: those with a final answer first."""
    names = [site.name for site in summary.sites]
    for part in summary.rounds:
        names += [site.name for site in part.sites] + [absence.name for absence in part.missing]
    return list(dict.fromkeys(names))


def evaluations_of(summary: RunSummary) -> dict[str, Evaluation]:
    """The headline model site by site, else what the sites said of the final model."""
    model = headline_model(summary)
    if model is not None and model.evaluations:
        return model.evaluations
    return {site.name: site.metrics for site in summary.sites if site.metrics is not None}


def explanations_of(summary: RunSummary) -> dict[str, Explanation]:
    """Where the headline model looks, site by site, else what the sites said of the final model."""
    model = headline_model(summary)
    if model is not None and model.explanations:
        return model.explanations
    return {site.name: site.explanation for site in summary.sites if site.explanation is not None}


def value_of(figure: Figure | None) -> float | None:
    """The figure's value, or None where there is no figure."""
    return figure.value if figure else None
