# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedxai.errors import SettingsError
from fedxai.privacy.release import Patients, released_evaluation, released_explanation, released_figure
from fedxai.records import (
    ClassSummary,
    Evaluation,
    Explanation,
    Figure,
    Honesty,
    MethodSummary,
    PlaceSummary,
    TrustTest,
)


def evaluation(n, cells):
    return Evaluation(
        split="test",
        cases=n,
        patients=n,
        metrics={"loss": Figure(value=1.0, n=n, low=0.5, high=2)},
        confusion=cells,
    )


@given(st.integers(0, 30), st.integers(1, 20))
def test_no_figure_over_too_few_cases_leaves(n, minimum):
    released = released_figure(Figure(value=0.5, n=n, low=0.1, high=0.9), minimum)
    if n < minimum:
        assert (released.value, released.low, released.high) == (None, None, None)
    else:
        assert released.value == 0.5


@given(st.lists(st.lists(st.integers(0, 50), min_size=2, max_size=2), min_size=2, max_size=2), st.integers(1, 20))
def test_no_small_cell_of_a_confusion_matrix_leaves(cells, minimum):
    released = released_evaluation(evaluation(40, cells), minimum)
    for row, kept in zip(cells, released.confusion, strict=True):
        for cell, shown in zip(row, kept, strict=True):
            assert shown is None if 0 < cell < minimum else shown in (cell, None)
    assert sum(shown is None for row in released.confusion for shown in row) != 1, "the others would tell it"


def test_a_score_over_one_patient_does_not_leave():
    method = MethodSummary(
        method="saliency",
        scored=1,
        unscored=0,
        undefined={},
        scores={"relevance_mass": Figure(value=0.9, n=1)},
        chance={"relevance_mass": Figure(value=0.1, n=1)},
    )
    explanation = Explanation(split="test", cases=1, methods=[method], seconds=0.1, passes=1)
    assert released_explanation(explanation, 5).methods[0].scores["relevance_mass"].value is None
    assert released_explanation(explanation, 1).methods[0].scores["relevance_mass"].value == 0.9


ONE, TWO = Patients(together=1, by_class=(1, 1)), Patients(together=2, by_class=(1, 2))


def test_forty_images_of_one_patient_are_no_figure_and_no_row():
    told = evaluation(40, [[20, 0], [8, 12]])
    alone = released_evaluation(told, 5, ONE)
    assert alone.metrics["loss"] == Figure(value=None, n=40)
    assert alone.confusion == [[None, None], [None, None]], "a cell of 0 would tell how all of these were answered"
    crowd = released_evaluation(told, 5, TWO)
    assert crowd.metrics == told.metrics
    assert crowd.confusion == [[None, None], [None, None]], "the class of one patient is held back, and a second"
    assert released_evaluation(told, 1, ONE) == told, "a site that lets single cases out lets single patients out"


def place_of(index, n, patients, undefined):
    share = {"rest": Figure(value=0.5, n=n, low=0.4, high=0.6)}
    return PlaceSummary(class_index=index, n=n, patients=patients, undefined=undefined, shares=share, chance={})


def test_an_explanation_of_one_patients_images_says_nothing_but_counts():
    figure = Figure(value=0.5, n=40, low=0.4, high=0.6)
    places = [place_of(index, *counts, 0) for index, counts in enumerate(((40, 1), (41, 2), (42, 2)))]
    told = Explanation(
        split="test", cases=40, methods=[method_over(40)], seconds=1, passes=1, places=places, agreement=figure
    )
    alone, crowd = (released_explanation(told, 5, patients) for patients in (ONE, TWO))
    assert crowd.methods == told.methods
    assert crowd.places == places[2:], "without a second class the number of all cases tells the first one's"
    assert alone.methods[0].scores["relevance_mass"] == alone.agreement == Figure(value=None, n=40)


@pytest.mark.parametrize(
    ("cells", "patients", "told"),
    [
        ([[36, 0, 0], [1, 3, 0], [0, 6, 9]], (36, 4, 15), [[36, 0, 0], [None] * 3, [None] * 3]),  # few cases
        ([[36, 0, 0], [6, 0, 0], [0, 6, 9]], (36, 1, 15), [[36, 0, 0], [None] * 3, [None] * 3]),  # of one patient
        ([[36, 0, 0], [0, 0, 0], [0, 6, 9]], (36, 0, 15), [[36, 0, 0], [0, 0, 0], [0, 6, 9]]),  # of none
        ([[36, 0, 0], [0, 1, 0], [0, 0, 1]], (36, 1, 1), [[None] * 3] * 3),  # two of a case are no crowd either
        ([[36, 0, 0], [1, 2, 0], [0, 0, 3]], (36, 3, 3), [[36, 0, 0], [None] * 3, [None] * 3]),
    ],
)
def test_how_a_class_of_a_few_was_answered_does_not_leave(cells, patients, told):
    """Neither a cell of 0, nor what accuracy or the metrics that weigh classes alike would tell of it."""
    n = sum(map(sum, cells))
    metrics = {name: Figure(value=0.7, n=n) for name in ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")}
    whole = evaluation(n, cells).model_copy(update={"metrics": metrics})
    released = released_evaluation(whole, 5, Patients(together=sum(patients), by_class=patients))
    assert released.confusion == told
    held = {name for name, figure in released.metrics.items() if figure.value is None}
    assert held == ({"balanced_accuracy", "macro_f1"} if [None] * 3 in told else set())


def test_of_two_classes_the_auc_is_that_of_the_few_against_the_others():
    metrics = {name: Figure(value=0.9, n=41) for name in ("accuracy", "macro_auc")}
    told = evaluation(41, [[40, 0], [1, 0]]).model_copy(update={"metrics": metrics})
    released = released_evaluation(told, 5, Patients(together=41, by_class=(40, 1))).metrics
    assert (released["accuracy"].value, released["macro_auc"].value) == (0.9, None)


def segmented(*classes, cases=20):
    """An evaluation with the Dice of classes over so many cases of as many patients; ``one`` patient's without ends."""
    ends = {"low": 0.4, "high": 0.6}
    metrics = {"mean_dice": Figure(value=0.5, n=cases, **ends), "loss": Figure(value=0.5, n=cases, **ends)}
    for index, (n, one) in enumerate(classes):
        metrics[f"dice_{index}"] = Figure(value=0.5, n=n, **({} if one else ends))
    return Evaluation(split="test", cases=cases, patients=cases, metrics=metrics)


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        ([(20, False), (17, False), (3, False)], [20, 0, 0]),  # a second, or the mean tells the one
        ([(20, False), (4, False), (3, False)], [20, 0, 0]),
        ([(20, False), (17, False), (6, True)], [20, 0, 0]),  # of one patient
        ([(20, False), (17, False), (0, False)], [20, 17, 0]),  # of none
        ([(20, False), (1, False), (1, False)], [0, 0, 0]),  # two of a case are no crowd either
        ([(3, False)], [0]),
    ],
)
def test_how_well_a_class_of_a_few_is_segmented_does_not_leave(classes, told):
    """Nor in how few cases it is, nor what the mean over all classes would tell of it."""
    released = released_evaluation(segmented(*classes), 5, Patients(together=20)).metrics
    shown = [released[f"dice_{index}"] for index in range(len(classes))]
    assert [figure.n for figure in shown] == told
    assert [figure.value is not None for figure in shown] == [n > 0 for n in told]
    assert released["mean_dice"].value == released["loss"].value == 0.5


def with_a_trust_test(value, n):
    figure = Figure(value=value, n=n, low=value - 0.1, high=value + 0.1) if n else Figure(value=None, n=0)
    trust = [TrustTest(name="robustness", outcome="passed", value=figure, threshold=0.5)]
    return MethodSummary(method="saliency", scored=n, unscored=0, undefined={}, scores={}, chance={}, trust=trust)


@pytest.mark.parametrize(("n", "outcome"), [(3, "undecided"), (6, "passed"), (0, "passed")])
def test_a_trust_test_of_all_classes_does_not_tell_that_of_one_which_is_held_back(n, outcome):
    parts = [
        ClassSummary(class_index=index, methods=[with_a_trust_test(0.8, count)])
        for index, count in enumerate((12, 9, n))
    ]
    whole = Explanation(
        split="test", cases=12, methods=[with_a_trust_test(0.8, 21 + n)], seconds=1, passes=1, classes=parts, places=[]
    )
    (test,) = released_explanation(whole, 5).methods[0].trust
    assert test.outcome == outcome
    assert (test.value.value is None) is (outcome == "undecided")


def places_of(*classes):
    """Of n cases with a map and so many without one, of n patients."""
    parts = [place_of(index, n, n, undefined) for index, (n, undefined) in enumerate(classes)]
    told = Explanation(split="test", cases=40, methods=[], seconds=1, passes=1, places=parts)
    return [[place.class_index for place in released_explanation(told, least).places] for least in (5, 1)]


@pytest.mark.parametrize(
    ("classes", "five", "one"),
    [
        ([(40, 0), (30, 0), (20, 0)], [0, 1, 2], [0, 1, 2]),
        ([(40, 0), (30, 0), (3, 0)], [0], [0, 1, 2]),
        ([(40, 0), (1, 0), (1, 0)], [], [0, 1, 2]),
        ([(40, 0), (30, 0), (0, 20)], [0, 1], [0, 1]),  # no map: there is nothing to tell, and its number is no secret
        ([(40, 0), (30, 0), (0, 2)], [0], [0, 1]),
    ],
)
def test_in_how_few_cases_a_class_is_is_not_told_by_the_places_of_the_others(classes, five, one):
    assert places_of(*classes) == [five, one]


@pytest.mark.parametrize(("undefined", "held"), [(0, False), (1, True), (4, True), (5, False)])
def test_the_gain_over_random_does_not_tell_the_random_map_of_a_few(undefined, held):
    """It is over the defined cases, the random map's own areas over all of them."""
    ends = {"low": 0.1, "high": 0.9}
    names = ("gain_over_random", "deletion", "insertion")
    levels = {name: Figure(value=0.3, n=40, **ends) for name in names}
    method = MethodSummary(
        method="saliency",
        scored=40,
        unscored=0,
        undefined={},
        scores={name: Figure(value=0.5, n=40 - undefined, **ends) for name in names},
        chance=levels,
        centred=levels,
    )
    told = Explanation(split="test", cases=40, methods=[method], seconds=1, passes=1)
    (released,) = released_explanation(told, 5).methods
    for level in (released.chance, released.centred):
        assert all((level[name].value is None) is held for name in names)
    assert released.scores == method.scores


@pytest.mark.parametrize(("fewer", "held"), [(0, False), (1, True), (4, True), (5, False)])
def test_levels_over_a_few_cases_less_than_anothers_stay_back(fewer, held):
    """They are of the cases, not of the methods: the difference of two would be the level of those few."""
    methods = [
        MethodSummary(
            method=name,
            scored=n,
            unscored=40 - n,
            undefined={},
            scores={"deletion": Figure(value=0.5, n=n, low=0.4, high=0.6)},
            chance={"deletion": Figure(value=0.2, n=n, low=0.1, high=0.3)},
            centred={"deletion": Figure(value=0.3, n=n, low=0.2, high=0.4)},
        )
        for name, n in (("saliency", 40), ("grad_cam", 40 - fewer))
    ]
    told = Explanation(split="test", cases=40, methods=methods, seconds=1, passes=1)
    whole, part = released_explanation(told, 5).methods
    assert whole == methods[0]
    assert part.scores == methods[1].scores
    assert {part.chance["deletion"].value is None, part.centred["deletion"].value is None} == {held}


def test_a_minimum_of_nothing_is_refused():
    with pytest.raises(SettingsError, match="at least 1"):
        released_evaluation(evaluation(3, []), 0)


@given(st.integers(0, 30), st.integers(1, 20))
def test_no_trust_test_over_too_few_cases_leaves(n, minimum):
    figure = Figure(value=0.5, n=n, low=0.4, high=0.6)
    method = MethodSummary(
        method="saliency",
        scored=n,
        unscored=0,
        undefined={},
        scores={},
        chance={},
        centred={"relevance_mass": figure},
        trust=[TrustTest.decide("robustness", figure, threshold=0.3)],
    )
    explanation = Explanation(split="test", cases=n, methods=[method], seconds=0.1, passes=1)
    [released] = released_explanation(explanation, minimum).methods
    [test] = released.trust
    assert (test.name, test.threshold, test.value.n) == ("robustness", 0.3, n)
    if n < minimum:
        assert (test.outcome, test.value, released.centred["relevance_mass"]) == (
            "undecided",
            *[Figure(value=None, n=n)] * 2,
        )
    else:
        assert (test.outcome, test.value) == ("passed", figure)


@given(st.integers(0, 30), st.integers(1, 20))
def test_no_answer_of_the_honesty_battery_over_too_few_cases_leaves(n, minimum):
    honesty = Honesty(cases=n, figures={"swap_kept": Figure(value=0.5, n=n, low=0.4, high=0.6)})
    explanation = Explanation(split="test", cases=n, methods=[], seconds=0.1, passes=1, honesty=honesty)
    released = released_explanation(explanation, minimum).honesty
    assert released is not None
    assert (released.figures["swap_kept"].value is None) is (n < minimum)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 20))
def test_no_place_of_a_class_with_too_few_cases_leaves(n, of_these, minimum):
    of_these = min(n, of_these)
    share = Figure(value=0.5, n=of_these, low=0.4, high=0.6)
    place = PlaceSummary(class_index=0, n=n, patients=n, undefined=0, shares={"ring": share}, chance={"ring": share})
    explanation = Explanation(split="test", cases=n, methods=[], seconds=0.1, passes=1, places=[place])
    released = released_explanation(explanation, minimum).places
    assert bool(released) is (n >= minimum)
    for left in released:
        assert (left.shares["ring"].value is None) is (of_these < minimum)
        assert (left.chance["ring"].value is None) is (of_these < minimum)


def test_agreement_over_too_few_cases_is_held_back():
    few, enough = (
        Explanation(
            split="validation",
            cases=9,
            methods=[],
            seconds=1,
            passes=1,
            agreement=Figure(value=0.5, n=n, low=0.4, high=0.6),
        )
        for n in (4, 5)
    )
    assert released_explanation(few, 5).agreement == Figure(value=None, n=4)
    assert released_explanation(enough, 5) == enough


def method_over(n):
    figures = {"relevance_mass": Figure(value=0.3, n=n, low=0.2, high=0.4)}
    return MethodSummary(
        method="saliency", scored=n, unscored=0, undefined={}, scores=figures, chance=figures, centred=figures
    )


@given(st.lists(st.integers(0, 12), min_size=1, max_size=4), st.integers(1, 10))
def test_a_figure_over_classes_leaves_only_where_each_classs_does(cases, minimum):
    """Else the one held back could be told from the others; and two classes of 3 patients are not 6 patients."""
    explanation = Explanation(
        split="test",
        cases=max(cases),
        methods=[method_over(sum(cases))],
        seconds=1,
        passes=1,
        classes=[ClassSummary(class_index=index, methods=[method_over(n)]) for index, n in enumerate(cases, start=1)],
    )
    released = released_explanation(explanation, minimum)
    for kind in ("scores", "chance", "centred"):
        for part in released.classes:
            n = cases[part.class_index - 1]
            assert (getattr(part.methods[0], kind)["relevance_mass"].value is not None) == (n >= minimum)
        together = getattr(released.methods[0], kind)["relevance_mass"].value
        assert (together is not None) == (sum(cases) >= minimum and all(n >= minimum or not n for n in cases))


@given(st.lists(st.integers(0, 12), min_size=1, max_size=4), st.integers(1, 10))
def test_in_how_few_cases_a_class_is_does_not_leave(cases, minimum):
    """Nor do the counts over all classes tell it: what is held back is of two classes and enough cases, or is all."""
    classes = [ClassSummary(class_index=index, methods=[method_over(n)]) for index, n in enumerate(cases, start=1)]
    together = [method_over(sum(cases))]
    explanation = Explanation(split="test", cases=max(cases), methods=together, seconds=1, passes=1, classes=classes)
    left = {part.class_index: part for part in released_explanation(explanation, minimum).classes}
    few = {index for index, n in enumerate(cases, start=1) if 0 < n < minimum}
    assert not few & left.keys()
    held = [n for index, n in enumerate(cases, start=1) if index not in left]
    assert held if few else not held
    assert 0 not in held, "no case hides no case"
    others = [n for index, n in enumerate(cases, start=1) if index in left and n]
    assert not held or not others or (len(held) > 1 and sum(held) >= minimum)


def test_of_one_patients_cases_among_others_nothing_is_told():
    """Ten slices with masks are one patient's; the others have none. Without a second patient there is no interval."""
    alone, level = Figure(value=0.5, n=10), Figure(value=0.02, n=10)
    method = MethodSummary(
        method="saliency",
        scored=10,
        unscored=10,
        undefined={},
        scores={"relevance_mass": alone},
        chance={"relevance_mass": alone},
        trust=[TrustTest.decide("robustness", alone, threshold=0.3)],
    )
    told = Explanation(
        split="test",
        cases=20,
        methods=[method],
        seconds=1,
        passes=1,
        honesty=Honesty(cases=10, figures={"swap_kept": alone}),
        places=[
            PlaceSummary(class_index=0, n=20, patients=2, undefined=0, shares={"ring": alone}, chance={"ring": level})
        ],
        agreement=alone,
    )
    released = released_explanation(told, 5, Patients(together=2))
    nothing = Figure(value=None, n=10)
    assert released.methods[0].scores == released.methods[0].chance == {"relevance_mass": nothing}
    assert (released.methods[0].trust[0].value, released.methods[0].trust[0].outcome) == (nothing, "undecided")
    assert released.honesty is not None
    assert released.honesty.figures == {"swap_kept": nothing}
    assert released.places[0].shares == released.places[0].chance == {"ring": nothing}
    assert released.agreement == nothing
    assert released_explanation(told, 1) == told


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 20))
def test_a_few_cases_without_a_region_cannot_be_worked_out_from_the_rest(with_region, without, minimum):
    def over(n):
        return Figure(value=0.5, n=n, low=0.4, high=0.6)

    shares = {"border_0_1": over(with_region + without), "region": over(with_region), "rest": over(with_region)}
    place = PlaceSummary(class_index=0, n=with_region + without, patients=9, undefined=0, shares=shares, chance=shares)
    told = Explanation(split="test", cases=60, methods=[], seconds=1, passes=1, places=[place])
    for left in released_explanation(told, minimum).places:
        shown = with_region >= minimum and not 0 < without < minimum
        assert (left.shares["rest"].value is not None) == (left.chance["rest"].value is not None) == shown
        assert (left.shares["region"].value is not None) == (with_region >= minimum)


def battery_over(n):
    return Honesty(cases=n, figures={"swap_kept": Figure(value=0.5, n=n, low=0.4, high=0.6)})


@given(st.lists(st.integers(0, 12), min_size=1, max_size=4), st.integers(1, 10))
def test_the_honesty_battery_of_a_class_is_held_back_as_its_scores_are(cases, minimum):
    explanation = Explanation(
        split="test",
        cases=max(cases),
        methods=[],
        seconds=1,
        passes=1,
        honesty=battery_over(sum(cases)),
        classes=[
            ClassSummary(class_index=index, methods=[], honesty=battery_over(n))
            for index, n in enumerate(cases, start=1)
        ],
    )
    released = released_explanation(explanation, minimum)
    shown = [part.honesty.figures["swap_kept"].value is not None for part in released.classes if part.honesty]
    assert shown == [n >= minimum for n in cases]
    assert released.honesty is not None
    whole = sum(cases) >= minimum and all(n >= minimum or not n for n in cases)
    assert (released.honesty.figures["swap_kept"].value is not None) == whole
