# SPDX-License-Identifier: Apache-2.0
import pytest
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.app_constant import AppConstants

from fedxai.errors import SettingsError
from fedxai.flare.selector import ModelSelector


@pytest.fixture
def selector(monkeypatch):
    found = ModelSelector(key_metric="macro_auc")
    found.panics = []
    monkeypatch.setattr(found, "system_panic", lambda reason, _: found.panics.append(reason))
    monkeypatch.setattr(found, "fire_event", lambda *_: None)
    return found


def at_round(number):
    fl_ctx = FLContext()
    fl_ctx.set_prop(AppConstants.CURRENT_ROUND, number)
    return fl_ctx


def test_a_metric_that_never_arrives_ends_the_run(selector):
    selector._before_aggregate(at_round(1))
    assert selector.panics == [
        "model selection: no site reported macro_auc in round 1; choose a key_metric that the validation split of "
        "at least one site can give"
    ]


def test_the_first_round_has_no_global_model_to_judge(selector):
    selector._before_aggregate(at_round(0))
    assert selector.panics == []


def test_a_metric_that_arrives_chooses(selector):
    selector.validation_metric_weighted_sum, selector.validation_metric_sum_of_weights = 1.6, 2.0
    selector._before_aggregate(at_round(1))
    assert selector.panics == []
    assert selector.best_val_metric == pytest.approx(0.8)


def test_a_model_below_the_floor_is_no_candidate(selector):
    selector.e_floor, selector.e = 0.2, 0.1
    selector.validation_metric_weighted_sum, selector.validation_metric_sum_of_weights = 1.6, 2.0
    selector._before_aggregate(at_round(1))
    assert selector.panics == []
    assert selector.best_val_metric == float("-inf")
    assert selector.validation_metric_sum_of_weights == 0
    selector.e = 0.2
    selector.validation_metric_weighted_sum, selector.validation_metric_sum_of_weights = 1.6, 2.0
    selector._before_aggregate(at_round(2))
    assert selector.best_val_metric == pytest.approx(0.8)


@pytest.mark.parametrize("floor", [0.0, 1.0, -0.1, "0.2", [0.2]])
def test_a_floor_outside_0_and_1_is_refused(floor):
    with pytest.raises(SettingsError, match="e_floor must be between 0 and 1"):
        ModelSelector(e_floor=floor).check()


def test_a_round_that_is_not_validated_chooses_nothing_and_ends_nothing(selector):
    selector.validate_every = 2
    selector._before_aggregate(at_round(1))
    assert selector.panics == []
    assert selector.best_val_metric == float("-inf")
    selector._before_aggregate(at_round(2))
    assert len(selector.panics) == 1


@pytest.mark.parametrize("every", [0, -1, "2", None])
def test_validation_rarer_than_never_is_refused(every):
    with pytest.raises(SettingsError, match=f"validate_every must be at least 1, got {every!r}"):
        ModelSelector(validate_every=every).check()
