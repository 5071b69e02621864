# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind, MetaKey
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable, make_reply

from fedxai.errors import CohortError, TrainingError, UpdateError
from fedxai.flare.messages import (
    read_dxo,
    read_site_round,
    read_summary,
    reason_of,
    refusal,
    summary_message,
    update_message,
)
from fedxai.records import CaseCounts, Figure, Holding, SiteRound, Survey

SURVEY = Survey(
    cases=CaseCounts(training=5, validation=1, test=1),
    minimum_cell=5,
    holding=Holding(case_records=7, bytes=70),
    classes=3,
    bundle_digest="0" * 64,
)
ROUND = SiteRound(
    name="site-1",
    training_loss=1.0,
    validation={"macro_auc": Figure(value=0.75, n=9), "ece": Figure(value=None, n=9)},
    steps=4,
    seconds=1.0,
)


def test_a_summary_survives_the_journey():
    assert read_summary(summary_message(SURVEY), Survey) == SURVEY


def test_a_summary_of_another_kind_is_refused():
    with pytest.raises(UpdateError, match="schema of SiteRound"):
        read_summary(summary_message(SURVEY), SiteRound)


def test_a_summary_with_an_array_in_it_is_refused():
    values = {**SURVEY.model_dump(), "pixels": np.zeros(4)}
    with pytest.raises(UpdateError, match="schema of Survey"):
        read_summary(DXO(DataKind.METRICS, data=values).to_shareable(), Survey)


def test_a_message_without_data_is_refused():
    with pytest.raises(UpdateError, match="no data exchange object"):
        read_dxo(Shareable())


def test_an_update_carries_n_k_and_its_metrics_where_flare_looks_for_them():
    message = update_message({"w": np.ones(2, np.float32)}, ROUND, cases=17)
    dxo = read_dxo(message)
    assert dxo.data_kind == DataKind.WEIGHT_DIFF
    assert dxo.get_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND) == 17
    assert dxo.get_meta_prop(MetaKey.INITIAL_METRICS) == {"macro_auc": 0.75}
    assert read_site_round(message) == ROUND


def test_a_refusal_is_one_sentence_with_a_name():
    assert reason_of(refusal(TrainingError("the loss is nan"))) == "TrainingError: the loss is nan"


def test_a_sentence_about_a_cohort_or_a_stranger_stays_in_the_site():
    for error in (CohortError("images/doe_john.png cannot be read"), ValueError("doe_john")):
        reason = reason_of(refusal(error))
        assert "doe_john" not in reason
        assert "log says why" in reason


def test_a_reply_of_flare_without_our_reason_still_has_one():
    assert reason_of(make_reply(ReturnCode.TASK_ABORTED)) == "the site answered TASK_ABORTED"
    assert reason_of(summary_message(SURVEY)) is None
