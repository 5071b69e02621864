# SPDX-License-Identifier: Apache-2.0
"""The closed schema of summaries: what is on the list passes as it was, and nothing else passes."""

import copy
from collections import Counter
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedxai.errors import ReleaseError
from fedxai.privacy import schema
from fedxai.privacy.release import Patients, released_evaluation
from fedxai.privacy.schema import recognised
from fedxai.records import (
    CaseCounts,
    ClassSummary,
    Evaluation,
    Evaluations,
    Explanation,
    Figure,
    Honesty,
    MethodSummary,
    PlaceSummary,
    Record,
    SiteRound,
    Survey,
    TrustTest,
)
from fedxai.records_statistics import SiteStatistics
from fedxai.settings import ReleasePolicy

POLICY = ReleasePolicy()


@pytest.fixture
def passes(words, facts):
    def ask(values: object, kind: type, policy: ReleasePolicy = POLICY):
        return recognised(values, kind, words=words, facts=facts, policy=policy)

    return ask


def test_a_whole_evaluation_passes_as_it_was(passes, evaluations):
    assert passes(evaluations, Evaluations).model_dump(mode="json") == evaluations


def test_a_whole_explanation_passes_as_it_was(passes):
    figure = Figure(value=0.25, n=10, low=0.1, high=0.5)
    named = {"relevance_mass": figure}
    method = MethodSummary(
        method="saliency",
        scored=9,
        unscored=1,
        undefined={"relevance_mass": 0},
        scores=named,
        chance=named,
        trust=[TrustTest.decide("robustness", figure, threshold=0.5)],
    )
    place = PlaceSummary(class_index=1, n=10, patients=9, undefined=0, shares={"rest": figure}, chance={"rest": figure})
    explanation = Explanation(
        split="test",
        cases=10,
        methods=[method],
        seconds=3.5,
        passes=400,
        honesty=Honesty(cases=8, figures={"drop_region": figure}),
        places=[place],
    ).model_dump(mode="json")
    assert passes(explanation, Explanation).model_dump(mode="json") == explanation


PIXELS = np.arange(64, dtype=np.uint8)


def loss(evaluations: dict) -> dict:
    return evaluations["test"]["metrics"]["loss"]


def add_a_patient(evaluations: dict) -> None:
    evaluations["test"]["metrics"]["DOE_JANE"] = Figure(value=1, n=10).model_dump()


def segment(evaluations: dict, *, n: int, value: float | None) -> None:
    """The Dice of a class, without an interval."""
    whole = Figure(value=0.5, n=10, low=0.4, high=0.6).model_dump()
    evaluations["test"]["metrics"] |= {"mean_dice": whole, "dice_horn": Figure(value=value, n=n).model_dump()}


LEAKS = {
    "an array among the figures": (lambda e: loss(e).update(value=PIXELS), "types"),
    "a list of pixels": (lambda e: loss(e).update(value=PIXELS.tolist()), "schema"),
    "bytes": (lambda e: e["test"].update(cases=PIXELS.tobytes()), "types"),
    "a new field": (lambda e: e["test"].update(pixels=1), "schema"),
    "a figure so fine that it holds pixels": (lambda e: loss(e).update(value=0.123456789), "decimals"),
    "an integer of 2,000 bits": (lambda e: loss(e).update(value=2**2000), "schema"),
    "a count that is an image": (lambda e: e["test"].update(cases=int.from_bytes(PIXELS.tobytes(), "big")), "counts"),
    "a figure too large": (lambda e: loss(e).update(value=1e7), "bounds"),
    "a number that is a class": (lambda e: loss(e).update(value=np.float64(0.5)), "types"),
    "a patient's name as a metric": (add_a_patient, "names"),
    "a summary over one patient": (lambda e: loss(e).update(n=1), "small_cell"),
    "an interval over one patient": (lambda e: loss(e).update(n=1, value=None), "small_cell"),
    "a small cell": (lambda e: e["test"].update(confusion=[[4, 1], [0, 5]]), "small_cell"),
    "a small cell that the others tell": (lambda e: e["test"].update(confusion=[[5, None], [0, 5]]), "small_cell"),
    "how few cases a class is in": (lambda e: segment(e, n=3, value=None), "small_cell"),
    "a class of one patient": (lambda e: segment(e, n=7, value=0.5), "small_cell"),
    "a matrix of another size": (lambda e: e["test"].update(confusion=[[5] * 100] * 100), "schema"),
    "not finite": (lambda e: loss(e).update(value=float("nan")), "decimals"),
    "true for one": (lambda e: e["test"].update(patients=True), "decimals"),
    "a number as a text": (lambda e: e["test"].update(cases="10"), "decimals"),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_in_a_summary_is_refused_without_its_content(passes, evaluations, leak):
    spoil, rule = LEAKS[leak]
    spoil(evaluations)
    with pytest.raises(ReleaseError) as refused:
        passes(evaluations, Evaluations)
    assert refused.value.rule == rule
    assert "DOE" not in str(refused.value)
    assert "123456" not in str(refused.value)


def spoil_nothing(evaluations: dict) -> None:
    """Honest figures; only that they are one patient's is the matter."""


def hide_figures(evaluations: dict) -> None:
    for part in evaluations.values():
        for figure in part["metrics"].values():
            figure.update(value=None, low=None, high=None)


def hide_all(evaluations: dict) -> None:
    hide_figures(evaluations)
    for part in evaluations.values():
        part["confusion"] = [[None, None], [None, None]]


ALONE = Patients(together=1, by_class=(1, 1))


@pytest.mark.parametrize(
    ("patients", "hide", "told"),
    [
        (ALONE, spoil_nothing, False),
        (ALONE, hide_figures, False),
        (ALONE, hide_all, True),
        (Patients(together=2, by_class=(1, 2)), spoil_nothing, False),
        (Patients(together=2, by_class=(2, 2)), spoil_nothing, True),
    ],
)
def test_many_images_of_one_patient_are_a_summary_over_one_patient(words, facts, evaluations, patients, hide, told):
    of_few = replace(facts, patients=dict.fromkeys(facts.patients, patients))
    hide(evaluations)
    if told:
        assert recognised(evaluations, Evaluations, words=words, facts=of_few, policy=POLICY)
        return
    with pytest.raises(ReleaseError, match="one patient's cases alone"):
        recognised(evaluations, Evaluations, words=words, facts=of_few, policy=POLICY)


CASES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 6)), min_size=1, max_size=30)


@settings(deadline=None)
@given(cases=CASES, minimum=st.integers(1, 6))
def test_what_an_honest_site_does_not_hold_back_passes_its_gate(words, facts, cases, minimum):
    """Cases of a true and a found class and a patient."""
    n, classes = len(cases), range(3)
    by_class = tuple(len({patient for true, _, patient in cases if true == index}) for index in classes)
    patients = Patients(together=len({patient for *_, patient in cases}), by_class=by_class)
    found = Counter((true, found) for true, found, _ in cases)
    whole = Evaluation(
        split="test",
        cases=n,
        patients=patients.together,
        metrics={name: Figure(value=0.5, n=n) for name in ("loss", "accuracy", "macro_f1")},
        confusion=[[found[row, column] for column in classes] for row in classes],
    )
    told = released_evaluation(whole, minimum, patients)
    both = Evaluations(validation=told.model_copy(update={"split": "validation"}), test=told).model_dump(mode="json")
    own = replace(
        facts,
        classes=3,
        minimum_cell=minimum,
        cases=CaseCounts(training=n, validation=n, test=n),
        patients=dict.fromkeys(facts.patients, patients),
    )
    for known in (own, replace(own, patients={})):  # the site's gate, and the server's, which is not told them
        assert recognised(both, Evaluations, words=words, facts=known, policy=POLICY)


def test_of_a_row_of_one_patients_cases_nothing_is_told(words, facts, evaluations):
    """Neither a cell of 0 nor what metrics that weigh all classes alike would tell of it."""
    of_few = replace(facts, patients=dict.fromkeys(facts.patients, Patients(together=6, by_class=(1, 5))))
    for part in evaluations.values():
        part["confusion"] = [[None, 0], [None, 5]]
    with pytest.raises(ReleaseError, match="held back whole"):
        recognised(evaluations, Evaluations, words=words, facts=of_few, policy=POLICY)
    for part in evaluations.values():
        part["confusion"] = [[None, None], [None, None]]
    assert recognised(evaluations, Evaluations, words=words, facts=of_few, policy=POLICY)
    evaluations["test"]["metrics"]["macro_f1"] = Figure(value=0.5, n=10).model_dump()
    with pytest.raises(ReleaseError, match="must be what weighs all alike"):
        recognised(evaluations, Evaluations, words=words, facts=of_few, policy=POLICY)


@pytest.mark.parametrize(
    ("figure", "sentence"),
    [
        (Figure(value=None, n=3), "in how few cases a class is"),
        (Figure(value=0.5, n=7), "one patient's cases alone"),
        (Figure(value=0.5, n=7, low=0.4, high=0.6), None),
    ],
)
def test_a_round_tells_of_a_class_no_more_than_an_evaluation(passes, site_round, figure, sentence):
    whole = Figure(value=0.5, n=10, low=0.4, high=0.6)
    told = {**site_round, "validation": {"mean_dice": whole.model_dump(), "dice_horn": figure.model_dump()}}
    if sentence is None:
        assert passes(told, SiteRound)
        return
    with pytest.raises(ReleaseError, match=sentence):
        passes(told, SiteRound)


def test_a_round_does_not_weigh_the_only_patient_of_a_class_like_the_others(words, facts, site_round):
    of_few = replace(facts, patients=dict.fromkeys(facts.patients, Patients(together=6, by_class=(1, 5))))
    told = {**site_round, "validation": {"macro_f1": Figure(value=0.5, n=10).model_dump()}}
    assert recognised(told, SiteRound, words=words, facts=facts, policy=POLICY)
    with pytest.raises(ReleaseError, match="must be what weighs all alike"):
        recognised(told, SiteRound, words=words, facts=of_few, policy=POLICY)


def test_the_loss_over_a_few_training_cases_does_not_pass(words, facts, site_round):
    few = replace(facts, cases=facts.cases.model_copy(update={"training": 4}))
    with pytest.raises(ReleaseError, match="loss over a few training cases"):
        recognised(site_round, SiteRound, words=words, facts=few, policy=POLICY)
    assert recognised({**site_round, "training_loss": None}, SiteRound, words=words, facts=few, policy=POLICY)


def test_where_one_patients_relevance_lies_is_not_told(passes):
    figure = Figure(value=0.25, n=10)
    place = PlaceSummary(class_index=1, n=10, patients=1, undefined=0, shares={"rest": figure}, chance={})
    told = Explanation(split="test", cases=10, methods=[], seconds=1, passes=1, places=[place])
    with pytest.raises(ReleaseError, match="one patient's cases alone"):
        passes(told.model_dump(mode="json"), Explanation)


def explanation(**parts) -> dict:
    told = {"split": "test", "cases": 10, "methods": [], "seconds": 1, "passes": 1, **parts}
    return Explanation(**told).model_dump(mode="json")


OVER_TEN = Figure(value=0.25, n=10, low=0.1, high=0.5)


def test_the_battery_asks_about_a_case_once_for_each_class(passes, facts):
    most = facts.total * facts.classes
    assert passes(explanation(honesty=Honesty(cases=most, figures={"drop_region": OVER_TEN})), Explanation)
    with pytest.raises(ReleaseError, match="a count must be one that the cohort can give"):
        passes(explanation(honesty=Honesty(cases=most + 1, figures={})), Explanation)


def test_a_figure_without_an_interval_is_one_patients_and_does_not_pass(passes):
    alone = Figure(value=0.25, n=10)
    place = PlaceSummary(class_index=1, n=10, patients=9, undefined=0, shares={"rest": alone}, chance={})
    for parts in ({"agreement": alone}, {"honesty": Honesty(cases=8, figures={"drop_region": alone})}):
        with pytest.raises(ReleaseError, match="one patient's cases alone"):
            passes(explanation(**parts), Explanation)
    with pytest.raises(ReleaseError, match="one patient's cases alone"):
        passes(explanation(places=[place]), Explanation)


def test_the_rest_does_not_pass_where_it_tells_of_a_few_cases_without_a_region(passes):
    place = PlaceSummary(class_index=1, n=12, patients=9, undefined=0, shares={"rest": OVER_TEN}, chance={})
    with pytest.raises(ReleaseError, match="rest must be held back"):
        passes(explanation(places=[place]), Explanation)


def test_a_class_of_few_cases_does_not_pass(passes):
    method = MethodSummary(method="saliency", scored=2, unscored=8, undefined={}, scores={}, chance={})
    with pytest.raises(ReleaseError, match="a class of few cases must be held back"):
        passes(explanation(classes=[ClassSummary(class_index=1, methods=[method])]), Explanation)


def test_a_site_speaks_of_its_own_name_bundle_and_cohort_only(passes, facts):
    survey = {
        "cases": facts.cases.model_dump(),
        "holding": {"case_records": 40, "bytes": 12345},
        "minimum_cell": 5,
        "classes": 2,
        "bundle_digest": "a" * 64,
    }
    assert passes(survey, Survey)
    changes = [{"bundle_digest": "b" * 64}, {"classes": 3}, {"cases": {**survey["cases"], "test": 9}}]
    for change in (*changes, {"minimum_cell": 1}):
        with pytest.raises(ReleaseError, match="own"):
            passes({**survey, **change}, Survey)


def test_one_method_is_told_once(passes):
    figures = {"relevance_mass": Figure(value=0.5, n=10)}
    method = MethodSummary(method="saliency", scored=10, unscored=0, undefined={}, scores=figures, chance={})
    explanation = Explanation(split="test", cases=10, methods=[method] * 300, seconds=1, passes=1)
    with pytest.raises(ReleaseError, match="once"):
        passes(explanation.model_dump(mode="json"), Explanation)


def test_a_method_that_was_left_out_is_a_known_one(passes):
    explanation = Explanation(split="test", cases=10, methods=[], seconds=1, passes=1, left_out=["saliency"])
    assert passes(explanation.model_dump(mode="json"), Explanation)
    with pytest.raises(ReleaseError, match="known"):
        passes({**explanation.model_dump(mode="json"), "left_out": ["DOE.JANE"]}, Explanation)


class Longer(Evaluation):
    """What a record becomes when somebody adds a field and forgets the gate."""

    comment: str = ""


def test_a_field_that_the_gate_does_not_know_yet_does_not_leave(passes, evaluations):
    with pytest.raises(ReleaseError, match="no rule at the gate"):
        passes({**evaluations["test"], "comment": "x"}, Longer)


def test_every_field_of_every_summary_is_known_to_the_gate():
    reached: dict[type, set[str]] = {}

    def reach(kind) -> None:
        if isinstance(kind, type) and issubclass(kind, Record) and kind not in reached:
            reached[kind] = set(kind.model_fields)
            for field in kind.model_fields.values():
                reach(field.annotation)
        for part in get_args(kind):
            reach(part)

    for kind in (Survey, SiteStatistics, Evaluations, Explanation, SiteRound):
        reach(kind)
    assert reached == {kind: set(names.split()) for kind, names in schema._FIELDS.items()}


def test_the_policy_can_only_narrow(passes, evaluations):
    with pytest.raises(ReleaseError, match="5 numbers"):
        passes(evaluations, Evaluations, ReleasePolicy(figures=5))
    with pytest.raises(ReleaseError, match="at most 0.25"):
        passes(evaluations, Evaluations, ReleasePolicy(largest=0.25))


JUNK = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=40),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.lists(st.integers(0, 255), max_size=20),
    st.dictionaries(st.text(max_size=8), st.floats(), max_size=4),
    st.just(PIXELS),
)


def places_of(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places_of(part, (*path, name))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_is_put_anywhere_what_passes_is_closed(words, facts, data):
    figure = {"value": 0.5, "n": 10, "low": None, "high": None}
    part = {"split": "test", "cases": 10, "patients": 9, "metrics": {"loss": figure}, "confusion": [[5, 0], [0, 5]]}
    values = copy.deepcopy({"validation": part, "test": part})
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from([path for path in places_of(values) if path]))
        holder = values
        for name in way:
            holder = holder[name]
        if isinstance(holder, dict) and data.draw(st.booleans()):
            last = data.draw(st.text(max_size=12))
        holder[last] = data.draw(JUNK)
    try:
        record = recognised(values, Evaluations, words=words, facts=facts, policy=POLICY)
    except ReleaseError:
        return
    assert isinstance(record, Evaluations)
    for evaluation in (record.validation, record.test):
        assert_closed(evaluation, words.metrics)


def assert_closed(evaluation: Evaluation, metrics: frozenset[str]) -> None:
    assert evaluation.metrics.keys() <= metrics
    assert 0 <= evaluation.cases <= 40
    for figure in evaluation.metrics.values():
        for value in (figure.value, figure.low, figure.high):
            assert value is None or (abs(value) <= 1e6 and value == round(value, 4) and figure.n >= 5)
    assert all(cell is None or cell == 0 or 5 <= cell <= 40 for row in evaluation.confusion for cell in row)
