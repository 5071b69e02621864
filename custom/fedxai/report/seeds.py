# SPDX-License-Identifier: Apache-2.0
"""The systems of a comparison over seeds: means, intervals, and differences paired by seed."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, stdev

from scipy.stats import t as student

from fedxai.records import HEADLINE_METHOD, Comparison, Figure, MethodSummary, SystemName, SystemResult
from fedxai.report.reading import chance_of, method_named, score_of, value_of
from fedxai.report.verdict import Verdict, verdict_of, verdict_over

SYSTEMS: tuple[SystemName, ...] = ("centralised", "local-only", "federated", "FedXAI-Med")

Read = Callable[[SystemResult], float | None]


def metric(name: str) -> Read:
    """Reads one diagnostic metric of a result."""
    return lambda result: value_of(result.metrics.get(name))


def privacy(result: SystemResult) -> float | None:
    """P of Eq. 6 over case records."""
    return result.privacy.score


def explainability(result: SystemResult) -> float | None:
    """E with |S| of gradient × input."""
    return value_of(score_of(_headline(result)))


def explainability_chance(result: SystemResult) -> float | None:
    """The chance level of E: the mean region area fraction of the scored cases."""
    return value_of(chance_of(_headline(result)))


def trust(result: SystemResult) -> Verdict:
    """The verdict of gradient × input on a model."""
    return verdict_of(_headline(result))


def system_trust(comparison: Comparison, system: SystemName, *, site: str | None = None) -> Verdict:
    """The verdict of gradient × input over all models of a system, or of one site's."""
    return verdict_over(trust(result) for result in _results(comparison, system, site))


def by_seed(comparison: Comparison, system: SystemName, read: Read, *, site: str | None = None) -> dict[int, float]:
    """One value a seed; a system with a model for each site gives the mean over its sites, or one site's."""
    values: dict[int, list[float]] = {}
    for result in _results(comparison, system, site):
        value = read(result)
        if value is not None:
            values.setdefault(result.seed, []).append(value)
    return {seed: fmean(parts) for seed, parts in sorted(values.items())}


def over_seeds(values: Sequence[float], *, low: float = 0.0, high: float = 1.0) -> Figure:
    """Mean over seeds with the interval the number of seeds allows.

    From 3 seeds the 95 % t interval ``m ± t(0.975, n-1) s / √n``, cut to [low, high]; with 2 the smaller and
    the larger value; with 1 none.

    Args:
        values: one value a seed.
        low: the least the quantity can be.
        high: the most the quantity can be.

    Returns:
        A figure whose n is the number of seeds.
    """
    n = len(values)
    if n == 0:
        return Figure(value=None, n=0)
    mean = fmean(values)
    if n == 1:
        return Figure(value=mean, n=1)
    if n == 2:
        return Figure(value=mean, n=2, low=min(values), high=max(values))
    half = float(student.ppf(0.975, n - 1)) * stdev(values) / math.sqrt(n)
    return Figure(value=mean, n=n, low=max(mean - half, low), high=min(mean + half, high))


def system_figure(
    comparison: Comparison, system: SystemName, read: Read, *, site: str | None = None, high: float = 1.0
) -> Figure:
    """One quantity of one system over seeds; ``high`` is the most it can be."""
    return over_seeds(list(by_seed(comparison, system, read, site=site).values()), high=high)


def paired_difference(
    comparison: Comparison, system: SystemName, reference: SystemName, read: Read, *, high: float = 1.0
) -> Figure:
    """``system − reference`` seed by seed, then over seeds: what the seeds share falls out."""
    ours, theirs = by_seed(comparison, system, read), by_seed(comparison, reference, read)
    return over_seeds([ours[seed] - theirs[seed] for seed in ours if seed in theirs], low=-high, high=high)


def systems_present(comparison: Comparison) -> list[SystemName]:
    """The systems with a result, in the paper's order."""
    return [system for system in SYSTEMS if any(result.system == system for result in comparison.results)]


def local_sites(comparison: Comparison) -> list[str]:
    """The sites that trained alone."""
    return sorted({r.site for r in comparison.results if r.system == "local-only" and r.site is not None})


def interval_in_words(comparison: Comparison) -> str:
    """How the intervals of this comparison came about."""
    seeds = len({result.seed for result in comparison.results})
    if seeds >= 3:
        return f"Intervals are 95 % t intervals over {seeds} seeds, cut to what the quantity can be."
    if seeds == 2:
        return "Intervals run from the smaller to the larger of 2 seeds: too few for a confidence interval."
    return "One seed: there is no interval over seeds."


def _results(comparison: Comparison, system: SystemName, site: str | None) -> list[SystemResult]:
    return [r for r in comparison.results if r.system == system and (site is None or r.site == site)]


def _headline(result: SystemResult) -> MethodSummary | None:
    return method_named(result.explanation, HEADLINE_METHOD)
