# SPDX-License-Identifier: Apache-2.0
"""The trust tests can fail: what must not be trusted fails, what is right on a network with a known reason passes."""

import pytest
import torch
from torch import nn

from fedxai.errors import ExplanationError
from fedxai.explain import METHODS
from fedxai.records import Figure, TrustTest
from fedxai.score import Asked
from fedxai.score.examine import examine
from fedxai.score.randomisation import Randomisation
from fedxai.score.tally import Tally
from fedxai.score.trust import verdict

TESTS = ["randomisation", "faithfulness", "robustness", "localisation"]


@pytest.fixture(scope="module")
def verdicts(stripes, stripes_cases, bad_methods):
    """By method, by test: the trust tests on the network that sees stripes."""
    methods = ["gradient_x_input", "grad_cam", *bad_methods.values()]
    parts = [{key: value[i : i + 10] for key, value in stripes_cases.items()} for i in range(0, 40, 10)]
    answer = examine(stripes, parts, split="test", methods=methods, target_layer="1", trust_cases=14)
    return {method.method: {test.name: test for test in method.trust} for method in answer.methods}


def test_the_network_knows_its_stripes(stripes, stripes_cases):
    assert (stripes(stripes_cases["image"]).argmax(dim=1) == stripes_cases["label"]).all()


@pytest.mark.parametrize("method", ["gradient_x_input", "grad_cam"])
def test_a_right_method_passes_every_test(verdicts, method):
    assert {name: test.outcome for name, test in verdicts[method].items()} == dict.fromkeys(TESTS, "passed")


@pytest.mark.parametrize(
    ("method", "outcomes"),
    [
        ("edge_detector", {"randomisation": "failed"}),
        ("centred_gaussian", {"randomisation": "failed", "faithfulness": "failed", "localisation": "failed"}),
        ("constant", dict.fromkeys(TESTS, "failed")),
        ("zero", dict.fromkeys(TESTS, "undecided")),
        ("fresh_noise", {"faithfulness": "undecided", "robustness": "failed"}),
    ],
)
def test_a_bad_method_does_not_pass(verdicts, method, outcomes):
    assert {name: verdicts[method][name].outcome for name in outcomes} == outcomes
    assert any(test.outcome != "passed" for test in verdicts[method].values())


def test_a_figure_says_over_how_many_cases_it_is(verdicts):
    assert {name: test.value.n for name, test in verdicts["gradient_x_input"].items()} == {
        **dict.fromkeys(TESTS, 14),
        "localisation": 40,
    }
    assert verdicts["zero"]["randomisation"].value == Figure(value=None, n=0)


def wide_network():
    """Wide layers of ReLU with pooling, as in the networks on which guided backpropagation was found wanting."""
    torch.manual_seed(1)
    layers = []
    for before, after in ((1, 32), (32, 32), (32, 32), (32, 32)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        nn.init.kaiming_normal_(layers[-2].weight)
    return nn.Sequential(
        *layers[:4], nn.MaxPool2d(2), *layers[4:], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 3)
    )


@pytest.mark.parametrize(("method", "outcome"), [("guided_backprop", "failed"), ("saliency", "passed")])
def test_guided_backprop_fails_randomisation_where_a_gradient_passes(method, outcome, stripes_cases):
    images = stripes_cases["image"][:12]
    asked = Asked(network=wide_network(), inputs=images, targets=torch.zeros(12).long(), method=method, seed=2)
    values = {"randomisation": Randomisation().value(asked)}
    tally = Tally(method)
    tally.add(scores=values, chance=values, centred=values, groups=[str(case) for case in range(12)])
    assert verdict(tally)[0].outcome == outcome


@pytest.mark.parametrize(
    ("name", "low", "high", "outcome"),
    [
        ("faithfulness", 0.01, 0.2, "passed"),
        ("faithfulness", -0.01, 0.2, "undecided"),
        ("faithfulness", -0.2, 0.0, "failed"),
        ("faithfulness", 0.0, 0.2, "undecided"),
        ("randomisation", 0.1, 0.2, "failed"),
        ("randomisation", -0.2, -0.1, "passed"),
        ("randomisation", 0.0, 0.1, "failed"),
        ("randomisation", -0.1, 0.1, "undecided"),
        ("robustness", None, None, "undecided"),
    ],
)
def test_the_whole_interval_decides(name, low, high, outcome):
    figure = Figure(value=0.05, n=9, low=low, high=high)
    assert TrustTest.decide(name, figure, threshold=0.0) == TrustTest(
        name=name, outcome=outcome, value=figure, threshold=0.0
    )


def test_faithfulness_must_beat_both_rivals():
    tally = Tally("m")
    for name, value in (("gain_over_random", 0.3), ("gain_over_mirrored", -0.1)):
        values = {name: torch.full((5,), value, dtype=torch.float64)}
        tally.add(scores=values, chance=values, centred=values, groups=list("abcde"))
    test = verdict(tally)[1]
    assert (test.name, test.outcome, test.value.value) == ("faithfulness", "failed", -0.1)


@pytest.mark.parametrize(
    ("over_random", "over_mirrored", "outcome"),
    [
        # the mirrored map is beaten by the mean only
        ([0.10, 0.11, 0.10, 0.09, 0.10], [0.6, -0.3, 0.5, -0.2, 0.4], "undecided"),
        # as of a centred Gaussian, which mirrors itself
        ([0.1, -0.13, 0.12, -0.11, 0.01], [0.0, 0.0, 0.0, 0.0, 0.0], "failed"),
        ([0.10, 0.11, 0.10, 0.09, 0.10], [0.2, 0.3, 0.2, 0.3, 0.2], "passed"),
    ],
)
def test_the_rival_that_is_not_surely_beaten_decides_whatever_its_mean(over_random, over_mirrored, outcome):
    tally = Tally("m")
    for name, values in (("gain_over_random", over_random), ("gain_over_mirrored", over_mirrored)):
        column = {name: torch.tensor(values, dtype=torch.float64)}
        tally.add(scores=column, chance=column, centred=column, groups=list("abcde"))
    assert verdict(tally)[1].outcome == outcome


@pytest.mark.parametrize(("patients", "outcome"), [("abcdabcd", "undecided"), ("abcdeabc", "passed")])
def test_of_fewer_than_five_patients_nothing_is_decided(patients, outcome):
    """Of 4 patients whose values are drawn from nothing, all lie above it in 1 of 16."""
    tally = Tally("m")
    for name, value in (("gain_over_random", 0.2), ("gain_over_mirrored", 0.3), ("noise_agreement", 0.9)):
        column = {name: torch.full((8,), value, dtype=torch.float64)}
        tally.add(scores=column, chance=column, centred=column, groups=list(patients))
    levels = {"scores": 0.4, "chance": 0.1, "centred": 0.2}
    mass = {kind: {"relevance_mass": torch.full((8,), value)} for kind, value in levels.items()}
    tally.add(**mass, groups=list(patients))
    tests = {test.name: test for test in verdict(tally)}
    assert {tests[name].outcome for name in ("faithfulness", "robustness", "localisation")} == {outcome}
    assert {test.value.low is None for test in tests.values() if test.value.n} == {outcome == "undecided"}
    assert tests["localisation"].value.value == pytest.approx(0.2)


@pytest.mark.parametrize(("centred", "chance", "wanted"), [(0.1, 0.3, 0.0), (0.4, 0.1, -0.1), (0.1, 0.2, 0.1)])
def test_localisation_must_beat_the_blob_and_a_map_of_one_value(centred, chance, wanted):
    """Where regions lie at the edge of the image a blob in its middle is easily beaten."""
    tally, levels = Tally("m"), {"scores": 0.3, "chance": chance, "centred": centred}
    values = {kind: {"relevance_mass": torch.full((5,), value).double()} for kind, value in levels.items()}
    tally.add(**values, groups=list("abcde"))
    test = verdict(tally)[3]
    assert test.value.value == pytest.approx(wanted)
    assert test.outcome == ("passed" if wanted > 0 else "failed")


@pytest.mark.parametrize(
    ("score", "test", "value", "outcome"),
    [
        ("randomisation", "randomisation", 0.45, "passed"),
        ("randomisation", "randomisation", 0.55, "failed"),
        ("noise_agreement", "robustness", 0.55, "passed"),
        ("noise_agreement", "robustness", 0.45, "failed"),
    ],
)
def test_a_half_is_where_randomisation_and_robustness_turn(score, test, value, outcome):
    tally, column = Tally("m"), {score: torch.full((5,), value, dtype=torch.float64)}
    tally.add(scores=column, chance=column, centred=column, groups=list("abcde"))
    assert {one.name: one.outcome for one in verdict(tally)}[test] == outcome


def test_without_trust_cases_there_is_no_verdict_and_no_cost(stripes, stripes_cases):
    answer = examine(stripes, [stripes_cases], split="test", methods=["saliency"])
    assert (answer.passes, answer.methods[0].trust) == (1, [])
    assert "randomisation" not in answer.methods[0].scores


def test_the_verdict_does_not_depend_on_batches_and_its_passes_are_counted(stripes, stripes_cases):
    parts = [{key: value[i : i + 5] for key, value in stripes_cases.items()} for i in range(0, 40, 5)]
    one, eight = (
        examine(stripes, batches, split="test", methods=["saliency"], trust_cases=9)
        for batches in ([stripes_cases], parts)
    )
    assert [t.outcome for t in one.methods[0].trust] == [t.outcome for t in eight.methods[0].trust]
    for together, apart in zip(one.methods[0].trust, eight.methods[0].trust, strict=True):
        assert together.value.value == pytest.approx(apart.value.value, abs=2e-3)
        assert together.value.n == apart.value.n
    assert eight.passes - one.passes == 7
    assert one.passes > 1 + 2 * 50


def test_fewer_cases_than_asked_for_are_all_taken(stripes, stripes_cases):
    few = {key: value[:3] for key, value in stripes_cases.items()}
    answer = examine(stripes, [few], split="test", methods=["saliency"], trust_cases=100)
    assert answer.methods[0].scores["deletion"].n == 3


def test_a_negative_number_of_trust_cases_is_refused(stripes):
    with pytest.raises(ExplanationError, match="trust_cases must be at least 0, got -1"):
        examine(stripes, [], split="test", methods=["saliency"], trust_cases=-1)


def test_known_bad_methods_are_known(bad_methods):
    assert not set(bad_methods) & set(METHODS)
