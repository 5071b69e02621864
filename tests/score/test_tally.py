# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from fedxai.combine.intervals import group_interval, mean_of
from fedxai.errors import ExplanationError
from fedxai.records import Figure
from fedxai.score.tally import Tally

NAN = float("nan")


def tallied(*batches):
    tally = Tally("saliency")
    for values, levels, groups in batches:
        level = {"e": torch.tensor(levels).double()}
        half = {"e": torch.tensor(levels).double() / 2}
        tally.add(scores={"e": torch.tensor(values).double()}, chance=level, centred=half, groups=groups)
        tally.count(cases=len(groups), with_region=len(groups))
    return tally


def test_batches_add_up_to_means_with_patient_level_intervals():
    values, levels = [0.1, 0.5, 0.3, 0.9, 0.7, 0.5], [0.1, 0.2, 0.3, 0.2, 0.2, 0.2]
    groups = ["p", "p", "q", "r", "s", "t"]
    tally = tallied((values[:3], levels[:3], groups[:3]), (values[3:], levels[3:], groups[3:]))
    summary = tally.summary(names=["e"], seed=4)
    numbers = torch.tensor(values).double().numpy()
    low, high = group_interval(mean_of(numbers), groups, seed=4)
    assert summary.scores["e"] == Figure(value=0.5, n=6, low=low, high=high)
    assert summary.chance["e"].value == pytest.approx(0.2)
    assert summary.centred["e"].value == pytest.approx(0.1)
    assert (summary.scored, summary.unscored, summary.undefined) == (6, 0, {"e": 0})


def test_undefined_cases_are_counted_and_left_out_of_the_score():
    """Not of its levels: over other cases than another method's these would tell the region of the one that differs."""
    summary = tallied(([0.4, NAN, 0.6], [0.1, 0.9, 0.3], ["a", "b", "c"])).summary(names=["e"])
    assert (summary.scored, summary.undefined["e"]) == (3, 1)
    assert (summary.scores["e"].value, summary.scores["e"].n) == (0.5, 2)
    assert (summary.chance["e"].value, summary.chance["e"].n) == (0.4333, 3)
    defined = tallied(([0.4, 0.5, 0.6], [0.1, 0.9, 0.3], ["a", "b", "c"])).summary(names=["e"])
    assert (summary.chance, summary.centred) == (defined.chance, defined.centred)


def test_cases_without_a_region_are_counted_not_scored():
    tally = tallied(([0.4], [0.1], ["a"]))
    tally.count(cases=3, with_region=0)
    summary = tally.summary(names=["e"])
    assert (summary.scored, summary.unscored, summary.scores["e"].n) == (1, 3, 1)


@pytest.mark.parametrize(("batches", "chance"), [((), None), ((([NAN, NAN], [0.1, 0.2], ["a", "b"]),), 0.15)])
def test_nothing_to_average_has_no_value(batches, chance):
    summary = tallied(*batches).summary(names=["e"])
    assert summary.scores == {"e": Figure(value=None, n=0)}
    assert summary.chance["e"].value == chance


@pytest.mark.parametrize("patients", [1, 4])
def test_few_patients_have_a_mean_but_no_interval(patients):
    """Its ends would be single patients' own means."""
    cases = ([0.4, 0.6, 0.1, 0.9], [0.1] * 4, [f"p{index % patients}" for index in range(4)])
    figure = tallied(cases).summary(names=["e"]).scores["e"]
    assert (figure.value, figure.low, figure.high) == (0.5, None, None)


def test_what_is_above_the_centred_gaussian_is_paired_case_by_case():
    values, levels = [0.3, 0.9, 0.5, 0.2, 0.4], [0.4, 1.6, 0.8, 0.2, 0.6]  # centred: half of the levels
    figure = tallied((values, levels, list("abcde"))).above("centred", "e")
    assert (figure.value, figure.n, figure.low, figure.high) == (0.1, 5, 0.1, 0.1)


def test_a_case_without_a_map_tells_its_level_to_nobody():
    """What is told of E and of its levels tells what is told of their difference, so that adds nothing."""
    values, levels = [0.3, 0.9, NAN, 0.5, 0.2, 0.4], [0.4, 1.6, 0.2, 0.8, 0.2, 0.6]
    tally = tallied((values, levels, list("abcdef")))
    summary, figure = tally.summary(names=["e"]), tally.above("centred", "e")
    assert figure.value == pytest.approx(summary.scores["e"].value - summary.centred["e"].value, abs=2e-4)
    assert (figure.value, figure.n) == (pytest.approx(0.1433, abs=1e-4), 5)
    assert figure.low < figure.value < figure.high


def test_above_its_level_is_known_no_better_than_the_score_itself():
    tally = tallied(([0.3, 0.3, 0.4, 0.4, NAN, NAN], [0.1] * 6, list("abcdef")))
    assert tally.above("chance", "e") == Figure(value=0.25, n=4), "of four patients, though six have a level"
    assert tallied(([NAN, NAN], [0.1, 0.2], ["a", "b"])).above("chance", "e") == Figure(value=None, n=0)


@pytest.mark.parametrize("level", ["chance", "centred"])
def test_a_case_without_a_level_leaves_the_others_theirs(level):
    """A region that is empty has neither."""
    values, levels = [0.3, 0.9, 0.5, 0.2, 0.4], [0.4, 1.6, 0.8, 0.2, 0.6]
    whole = tallied((values, levels, list("abcde"))).above(level, "e")
    lost = tallied(([*values, NAN], [*levels, NAN], list("abcdef"))).above(level, "e")
    assert (lost.value, lost.n) == (whole.value, 5)
    assert lost.low is not None


def test_a_case_of_which_a_method_has_no_map_gives_its_levels_and_is_neither_scored_nor_undefined():
    tally = tallied(([0.4, NAN], [0.1, 0.3], ["a", "b"]))
    levels = {"e": torch.tensor([0.5], dtype=torch.float64)}
    tally.add_levels(chance=levels, centred=levels, groups=["c"])
    summary = tally.summary(names=["e"])
    assert (summary.scores["e"].value, summary.scores["e"].n, summary.undefined) == (0.4, 1, {"e": 1})
    assert (summary.chance["e"].value, summary.chance["e"].n) == (0.3, 3)


def test_many_cases_of_one_patient_do_not_narrow_the_interval():
    values = np.repeat([0.2, 0.4, 0.5, 0.6, 0.8], 40).tolist()
    together = tallied((values, values, [f"p{i // 40}" for i in range(200)])).summary(names=["e"]).scores["e"]
    apart = tallied((values, values, [f"p{i}" for i in range(200)])).summary(names=["e"]).scores["e"]
    assert together.high - together.low > 4 * (apart.high - apart.low)


def test_a_score_that_is_not_one_per_case_is_refused():
    with pytest.raises(ExplanationError, match="one value per case"):
        tallied(([0.4, 0.6], [0.1, 0.1], ["a"]))
