# SPDX-License-Identifier: Apache-2.0
"""A recorder's notebook, as another recorder takes it up."""

import json

import pytest

from fedxai.flare.recorder import Recorder
from fedxai.records import CaseCounts, Explanation, Figure, Holding, SiteRound, Survey


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


def test_a_run_that_is_taken_up_ends_as_one_that_never_stopped(make, brain_bundle):
    survey = Survey(
        cases=CaseCounts(training=5, validation=5, test=5),
        minimum_cell=5,
        holding=Holding(case_records=15, bytes=1000),
        classes=3,
        bundle_digest=brain_bundle.digest,
    )
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
    recorder.surveys["site-1"] = Survey(
        cases=CaseCounts(training=5, validation=5, test=5),
        minimum_cell=1,
        holding=Holding(case_records=15, bytes=1000),
        classes=3,
        bundle_digest=brain_bundle.digest,
    )
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
