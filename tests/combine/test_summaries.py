# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from fedxai.combine.summaries import (
    pooled_confusion,
    pooled_figure,
    pooled_methods,
    pooled_metrics,
    pooled_outgoing,
)
from fedxai.records import Evaluation, Explanation, Figure, MethodSummary, Outgoing


def evaluation(cases, accuracy, confusion):
    return Evaluation(
        split="test",
        cases=cases,
        patients=cases,
        metrics={"accuracy": Figure(value=accuracy, n=cases)},
        confusion=confusion,
    )


def test_accuracy_over_sites_is_the_accuracy_over_all_cases():
    pooled = pooled_metrics([evaluation(10, 0.5, []), evaluation(30, 0.9, [])])
    assert pooled["accuracy"].value == pytest.approx((5 + 27) / 40)
    assert pooled["accuracy"].n == 40


def test_half_widths_of_independent_sites_add_in_quadrature():
    figure = pooled_figure([Figure(value=0.5, n=1, low=0.4, high=0.7), Figure(value=0.7, n=1, low=0.6, high=0.9)])
    assert figure.value == pytest.approx(0.6)
    assert figure.low == pytest.approx(0.6 - math.sqrt(2 * 0.05**2), abs=1e-4)
    assert figure.high == pytest.approx(0.6 + math.sqrt(2 * 0.1**2), abs=1e-4)


def test_undefined_figures_are_never_averaged_in():
    assert pooled_figure([Figure(value=None, n=9), Figure(value=0.25, n=4)]) == Figure(value=0.25, n=4)
    assert pooled_figure([]).value is None


def test_confusion_cells_add_and_a_held_back_cell_stays_back():
    tested = [evaluation(3, 1.0, [[2, 1], [None, 0]]), evaluation(3, 1.0, [[1, 1], [1, 0]])]
    assert pooled_confusion(tested) == [[3, 2], [None, 0]]
    assert pooled_confusion([]) == []


def test_methods_are_pooled_by_name():
    def answer(value, n):
        method = MethodSummary(
            method="saliency",
            scored=n,
            unscored=1,
            undefined={"relevance_mass": 0},
            scores={"relevance_mass": Figure(value=value, n=n)},
            chance={"relevance_mass": Figure(value=0.1, n=n)},
        )
        return Explanation(split="test", cases=n + 1, methods=[method], seconds=1.0, passes=1)

    [method] = pooled_methods([answer(0.2, 10), answer(0.5, 20)])
    assert method.scored == 30
    assert method.unscored == 2
    assert method.scores["relevance_mass"].value == pytest.approx(0.4)


def test_what_left_is_summed_by_kind():
    parts = [Outgoing(kind="update", messages=1, bytes=5), Outgoing(kind="update", messages=2, bytes=7)]
    assert pooled_outgoing(parts) == [Outgoing(kind="update", messages=3, bytes=12)]
