# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.model import make_model_learnable
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType

from fedxai.errors import SettingsError
from fedxai.flare.aggregator import FedAvgAggregator
from fedxai.flare.messages import update_message
from fedxai.flare.selector import ModelSelector
from fedxai.records import Figure, SiteRound


@pytest.fixture
def selector(monkeypatch):
    found = ModelSelector(key_metric="macro_auc")
    found.panics = []
    monkeypatch.setattr(found, "system_panic", lambda reason, _: found.panics.append(reason))
    monkeypatch.setattr(found, "fire_event", lambda *_: None)
    return found


def test_what_the_aggregator_refuses_has_no_say_in_the_choice(selector):
    aggregator = FedAvgAggregator()
    fl_ctx = at_round(1)
    fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, make_model_learnable({"w": np.zeros(2, np.float32)}, {}))
    accepted = {}
    for site, tensor, accuracy, cases in (("a", [1.0, 1.0], 0.7, 100), ("b", [np.nan, 0.0], 0.99, 900)):
        round_ = SiteRound(
            name=site, training_loss=1, validation={"macro_auc": Figure(value=accuracy, n=50)}, steps=1, seconds=1
        )
        message = update_message({"w": np.array(tensor, np.float32)}, round_, cases=cases)
        message.add_cookie(AppConstants.CONTRIBUTION_ROUND, 1)
        message.set_peer_props({ReservedKey.IDENTITY_NAME: site})
        peer = FLContext()
        peer.put(ReservedKey.IDENTITY_NAME, site, private=False, sticky=False)
        peer.set_prop(FLContextKey.SHAREABLE, message, private=True)
        fl_ctx.set_peer_context(peer)
        selector.handle_event(AppEventType.BEFORE_CONTRIBUTION_ACCEPT, fl_ctx)  # in FLARE's order
        accepted[site] = aggregator.accept(message, fl_ctx)
        fl_ctx.set_prop(AppConstants.AGGREGATION_ACCEPTED, accepted[site], private=True, sticky=False)
        selector.handle_event(AppEventType.AFTER_CONTRIBUTION_ACCEPT, fl_ctx)
    selector.handle_event(AppEventType.BEFORE_AGGREGATION, fl_ctx)
    assert accepted == {"a": True, "b": False}
    assert selector.best_val_metric == pytest.approx(0.7)


def at_round(number):
    fl_ctx = FLContext()
    fl_ctx.set_prop(AppConstants.CURRENT_ROUND, number)
    return fl_ctx


def test_a_metric_that_never_arrives_ends_the_run(selector):
    selector._before_aggregate(at_round(1))
    assert selector.panics == [
        "model selection: no site reported macro_auc up to round 1; choose a key_metric that the validation split of "
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


def test_a_round_without_the_site_that_gives_the_metric_chooses_nothing_and_ends_nothing(selector):
    selector.validation_metric_weighted_sum, selector.validation_metric_sum_of_weights = 1.6, 2.0
    selector._before_aggregate(at_round(1))
    later = ModelSelector(key_metric="macro_auc")
    later.go_on(**selector.place())
    for one in (selector, later):
        one.system_panic = lambda reason, _: pytest.fail(reason)
        one._reset_stats()
        one._before_aggregate(at_round(2))
        assert one.best_val_metric == pytest.approx(0.8)


def test_that_the_metric_came_is_known_after_a_resume_though_no_model_was_a_candidate(selector, monkeypatch):
    selector.e_floor, selector.e = 0.2, 0.1
    selector.validation_metric_weighted_sum, selector.validation_metric_sum_of_weights = 1.6, 2.0
    selector._before_aggregate(at_round(1))
    later = ModelSelector(key_metric="macro_auc", e_floor=0.2)
    monkeypatch.setattr(later, "system_panic", lambda reason, _: pytest.fail(reason))
    later.go_on(**selector.place())
    later._before_aggregate(at_round(2))
    assert later.place() == selector.place()


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
