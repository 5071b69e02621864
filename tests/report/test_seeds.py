# SPDX-License-Identifier: Apache-2.0
"""Means and intervals over seeds."""

from collections.abc import Callable

import pytest

from fedxai.records import Comparison
from fedxai.report.seeds import (
    by_seed,
    interval_in_words,
    metric,
    over_seeds,
    paired_difference,
    system_figure,
)

Make = Callable[[int], Comparison]


def test_three_seeds_give_the_t_interval_known_by_hand() -> None:
    figure = over_seeds([0.5, 0.6, 0.7])
    # s = 0.1, t(0.975, 2) = 4.30265: half-width 4.30265 * 0.1 / sqrt(3) = 0.24841
    assert figure.value == pytest.approx(0.6)
    assert (figure.low, figure.high, figure.n) == (pytest.approx(0.3516), pytest.approx(0.8484), 3)


def test_interval_stays_within_what_the_quantity_can_be() -> None:
    assert over_seeds([0.9, 0.99, 1.0]).high == 1.0
    assert over_seeds([-0.5, 0.5, 0.0], low=-1.0).low == -1.0


def test_two_seeds_give_their_extremes_and_one_gives_none() -> None:
    two, one, none = over_seeds([0.8, 0.6]), over_seeds([0.8]), over_seeds([])
    assert (two.low, two.high) == (0.6, 0.8)
    assert (one.value, one.low, one.high) == (0.8, None, None)
    assert (none.value, none.n) == (None, 0)


def test_local_only_is_the_mean_over_its_sites(make_comparison: Make) -> None:
    comparison = make_comparison(2)
    by_hand = [
        result.metrics["macro_auc"].value or 0.0
        for result in comparison.results
        if result.system == "local-only" and result.seed == 1
    ]
    assert len(by_hand) == 4
    assert by_seed(comparison, "local-only", metric("macro_auc"))[1] == pytest.approx(sum(by_hand) / 4)


def test_difference_is_taken_seed_by_seed(make_comparison: Make) -> None:
    comparison, auc = make_comparison(3), metric("macro_auc")
    ours, theirs = (by_seed(comparison, system, auc) for system in ("federated", "centralised"))
    figure = paired_difference(comparison, "federated", "centralised", auc)
    assert figure.value == pytest.approx(sum(ours[s] - theirs[s] for s in range(3)) / 3, abs=1e-4)
    assert figure.value is not None
    assert figure.value < 0


def test_unknown_metric_is_undefined(make_comparison: Make) -> None:
    assert system_figure(make_comparison(3), "federated", metric("dice")).value is None


@pytest.mark.parametrize(("seeds", "says"), [(1, "no interval"), (2, "2 seeds: too few"), (3, "t intervals over 3")])
def test_words_tell_which_interval_it_is(seeds: int, says: str, make_comparison: Make) -> None:
    assert says in interval_in_words(make_comparison(seeds))
