# SPDX-License-Identifier: Apache-2.0
import pytest

from fedxai.combine.summaries import (
    pooled_classes,
    pooled_confusion,
    pooled_methods,
    pooled_metrics,
    pooled_outgoing,
)
from fedxai.records import ClassSummary, Evaluation, Explanation, Figure, Honesty, MethodSummary, Outgoing, TrustTest


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


def trusted(*tests, centred=0.1):
    method = MethodSummary(
        method="saliency",
        scored=10,
        unscored=0,
        undefined={},
        scores={"relevance_mass": Figure(value=0.3, n=10)},
        chance={"relevance_mass": Figure(value=0.1, n=10)},
        centred={"relevance_mass": Figure(value=centred, n=10)},
        trust=list(tests),
    )
    return Explanation(split="test", cases=10, methods=[method], seconds=1.0, passes=1)


def gain(value, n, half, threshold=0.0):
    figure = Figure(value=value, n=n, low=value - half, high=value + half)
    return TrustTest.decide("faithfulness", figure, threshold=threshold)


def test_sites_that_are_undecided_alone_can_pass_together():
    answers = [trusted(gain(0.05, 10, 0.06)) for _ in range(4)]
    assert {answer.methods[0].trust[0].outcome for answer in answers} == {"undecided"}
    [test] = pooled_methods(answers)[0].trust
    assert (test.outcome, test.value.value, test.value.n, test.threshold) == ("passed", 0.05, 40, 0.0)


def test_one_failing_site_weighs_as_much_as_its_cases():
    small, large = trusted(gain(-0.1, 10, 0.05)), trusted(gain(0.2, 90, 0.05))
    assert small.methods[0].trust[0].outcome == "failed"
    assert pooled_methods([small, large])[0].trust[0].outcome == "passed"
    assert pooled_methods([small, trusted(gain(0.1, 10, 0.05))])[0].trust[0].outcome == "undecided"


def test_a_test_without_any_figure_stays_undecided_and_missing_tests_are_no_obstacle():
    held_back = TrustTest.decide("faithfulness", Figure(value=None, n=2), threshold=0.0)
    assert pooled_methods([trusted(held_back), trusted()])[0].trust == [
        TrustTest(name="faithfulness", outcome="undecided", value=Figure(value=None, n=0), threshold=0.0)
    ]
    assert pooled_methods([trusted(held_back), trusted(gain(0.1, 9, 0.05))])[0].trust[0].outcome == "passed"


@pytest.mark.parametrize("value", [-0.9, 0.9])
def test_a_site_with_too_few_patients_for_an_interval_has_no_part(value):
    few = trusted(TrustTest.decide("faithfulness", Figure(value=value, n=8), threshold=0.0))
    gains = {"gain_over_random": Figure(value=value, n=8, low=value, high=value)}
    few.methods[0].scores.update(gains, gain_over_mirrored=gains["gain_over_random"])
    enough = trusted(gain(0.1, 9, 0.05))
    both = {"gain_over_random": gain(0.1, 9, 0.05).value, "gain_over_mirrored": gain(0.2, 9, 0.05).value}
    enough.methods[0].scores.update(both)
    [test] = pooled_methods([few, enough])[0].trust
    assert (test.outcome, test.value) == ("passed", gain(0.1, 9, 0.05).value)
    assert pooled_methods([few])[0].trust[0].outcome == "undecided"


def test_faithfulness_of_all_sites_must_beat_both_rivals():
    """Most sites tell the one gain and one tells the other; the mean of those is of neither."""

    def site(random, mirrored):
        worse = min(random, mirrored, key=lambda test: (test.outcome != "failed", test.outcome != "undecided"))
        answer = trusted(worse)
        answer.methods[0].scores.update(gain_over_random=random.value, gain_over_mirrored=mirrored.value)
        return answer

    sites = [site(gain(0.5, 8, 0.52), gain(0.02, 8, 0.01)) for _ in range(4)]
    sites.append(site(gain(0.4, 8, 0.1), gain(-0.3, 8, 0.05)))
    [test] = pooled_methods(sites)[0].trust
    assert (test.outcome, test.value.value) == ("failed", pytest.approx(-0.044))


@pytest.mark.parametrize(("centred", "outcome"), [(0.2, "undecided"), (0.35, "failed")])
def test_localisation_is_not_failed_where_only_each_sites_own_rival_is_better(centred, outcome):
    """E of all is .3, the area's level .1: above both levels of all, or below the centred Gaussian's."""
    tests = [TrustTest.decide("localisation", Figure(value=-0.1, n=10, low=-0.2, high=-0.05), threshold=0.0)] * 2
    [test] = pooled_methods([trusted(test, centred=centred) for test in tests])[0].trust
    assert (test.outcome, test.value.value) == (outcome, -0.1)


def test_thresholds_that_differ_leave_a_test_undecided():
    [test] = pooled_methods([trusted(gain(0.5, 9, 0.1)), trusted(gain(0.5, 9, 0.1, threshold=0.1))])[0].trust
    assert (test.outcome, test.threshold, test.value.value) == ("undecided", None, 0.5)


def test_the_level_of_the_centred_gaussian_is_pooled_too():
    [method] = pooled_methods([trusted(centred=0.1), trusted(centred=0.3)])
    assert method.centred["relevance_mass"] == Figure(value=0.2, n=20)


def test_classes_are_pooled_one_by_one_over_the_sites_that_have_them():
    def site(**by_class):
        classes = [ClassSummary(class_index=int(index[1]), methods=found.methods) for index, found in by_class.items()]
        return Explanation(split="test", cases=10, methods=[], seconds=0, passes=1, classes=classes)

    pooled = pooled_classes([site(c1=trusted(centred=0.1), c2=trusted(centred=0.5)), site(c1=trusted(centred=0.3))])
    assert [part.class_index for part in pooled] == [1, 2]
    assert [part.methods[0].centred["relevance_mass"] for part in pooled] == [
        Figure(value=0.2, n=20),
        Figure(value=0.5, n=10),
    ]


def test_the_honesty_battery_of_a_class_is_pooled_over_the_sites_that_ran_it():
    def site(**by_class):
        classes = [
            ClassSummary(
                class_index=int(index[1]),
                methods=[],
                honesty=kept and Honesty(cases=kept.n, figures={"swap_kept": kept}),
            )
            for index, kept in by_class.items()
        ]
        return Explanation(split="test", cases=30, methods=[], seconds=0, passes=1, classes=classes)

    sites = [site(c1=Figure(value=0.2, n=10), c2=None), site(c1=Figure(value=0.6, n=30)), site(c1=None)]
    one, two = pooled_classes(sites)
    assert one.honesty == Honesty(cases=40, figures={"swap_kept": Figure(value=0.5, n=40)})
    assert two.honesty is None
