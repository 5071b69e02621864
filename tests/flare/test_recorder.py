# SPDX-License-Identifier: Apache-2.0
"""A recorder's notebook, as another recorder takes it up."""

import json

import pytest

from fedxai.flare.recorder import Recorder, explanations_in
from fedxai.records import CaseCounts, Explanation, Figure, Holding, MethodSummary, PlaceSummary, SiteRound, Survey


@pytest.fixture
def make(brain_bundle):
    def recorder() -> Recorder:
        return Recorder(bundle=brain_bundle, job="job", settings={}, key_metric="macro_auc")

    return recorder


def a_round(recorder: Recorder, number: int) -> None:
    recorder.begin_round()
    recorder.received("site-1", "update", 100 + number)
    figures = {"macro_auc": Figure(value=0.1 * number, n=5), "loss": Figure(value=1.0, n=5)}
    recorder.accepted("site-1", SiteRound(name="site-1", training_loss=1, validation=figures, steps=1, seconds=1))
    recorder.trained()
    recorder.finish_round(number, {})


def survey_of(bundle, *, minimum_cell=5) -> Survey:
    return Survey(
        cases=CaseCounts(training=5, validation=5, test=5),
        minimum_cell=minimum_cell,
        holding=Holding(case_records=15, bytes=1000),
        classes=3,
        bundle_digest=bundle.digest,
    )


def test_a_run_that_is_taken_up_ends_as_one_that_never_stopped(make, brain_bundle):
    survey = survey_of(brain_bundle)
    one, first, second = make(), make(), make()
    for recorder in (one, first):
        recorder.surveys = {"site-1": survey, "site-2": survey}
        a_round(recorder, 0)
        a_round(recorder, 1)
    second.go_on(json.loads(json.dumps(first.notebook())))
    for recorder in (one, second):
        a_round(recorder, 2)
        recorder.choose(3, 0.9, {}, None)
    whole, pieces = one.summary(), second.summary()
    assert len(pieces.rounds) == 3
    assert [r.selection_metric for r in pieces.rounds] == [r.selection_metric for r in whole.rounds]
    assert (pieces.choice, pieces.notes, pieces.bytes) == (whole.choice, whole.notes, whole.bytes)
    assert pieces.privacy == whole.privacy
    assert "site-2 gave no usable update" in pieces.notes[0]


def test_p_falls_where_single_cases_were_told_and_never_below_nothing(make, brain_bundle):
    recorder = make()
    recorder.surveys["site-1"] = survey_of(brain_bundle, minimum_cell=1)
    for told, score in ((0, 1.0), (3, 0.8), (100, 0.0)):
        recorder.received("site-1", "evaluation", 100, told)
        assert recorder.summary().privacy.score == score


def test_methods_that_cannot_explain_a_network_are_named_for_the_reader(make):
    recorder = make()
    answers = {
        site: Explanation(split="test", cases=4, methods=[], seconds=1, passes=1, left_out=left_out)
        for site, left_out in (("site-1", ["grad_cam", "layer_cam"]), ("site-2", []))
    }
    recorder.model("last", 3, {}, answers)
    assert recorder.notes == ["site-1: grad_cam, layer_cam cannot explain the last model here."]


def place(n):
    share = Figure(value=0.1, n=n, low=0.05, high=0.15)
    return PlaceSummary(class_index=1, n=n, patients=n, undefined=0, shares={"rest": share}, chance={"rest": share})


def test_a_site_that_could_not_be_searched_for_shortcuts_is_named(make):
    """It had too few cases for its places to leave it; no alarm there is no all-clear."""
    recorder = make()
    told = {"site-1": [place(40)], "site-2": [place(40)], "site-3": []}
    answers = {
        site: Explanation(split="test", cases=4, methods=[], seconds=1, passes=1, places=places)
        for site, places in told.items()
    }
    recorder.model("last", 3, {}, answers)
    assert recorder.models[0].shortcuts is not None
    assert (
        "site-3, glioma: not enough cases told, of it or of another class, to look for a shortcut."
        in recorder.models[0].shortcuts.notes
    )
    recorder.model("best", 3, {}, {"site-3": answers["site-3"]})
    assert recorder.models[1].shortcuts is None


def test_a_rounds_e_is_that_of_the_sites_whose_update_was_taken(make, brain_bundle):
    """What chooses the model is then what the report shows."""
    recorder = make()
    recorder.surveys = dict.fromkeys(("site-1", "site-2"), survey_of(brain_bundle))
    recorder.begin_round()
    figures = {"macro_auc": Figure(value=0.9, n=5), "loss": Figure(value=1.0, n=5)}
    recorder.accepted("site-1", SiteRound(name="site-1", training_loss=1, validation=figures, steps=1, seconds=1))
    recorder.absent("site-2", "its update was refused")
    recorder.trained()
    e = {"site-1": 0.4, "site-2": 0.1}
    summary = recorder.finish_round(1, {site: scored(value) for site, value in e.items()})
    assert recorder.e_of(explanations_in(summary)) == 0.4


def scored(e):
    figure = {"relevance_mass": Figure(value=e, n=20, low=e - 0.05, high=e + 0.05)}
    method = MethodSummary(
        method="gradient_x_input", scored=20, unscored=0, undefined={}, scores=figure, chance=figure, centred=figure
    )
    return Explanation(split="validation", cases=20, methods=[method], seconds=1, passes=1)
