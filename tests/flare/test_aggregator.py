# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind, MetaKey
from nvflare.apis.fl_constant import ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.model import make_model_learnable
from nvflare.app_common.app_constant import AppConstants

from fedxai.flare.aggregator import FedAvgAggregator
from fedxai.flare.messages import SITE_ROUND, read_dxo

ROUND = {"name": "a", "training_loss": 1.0, "validation": {}, "steps": 1, "seconds": 1.0}
REFERENCE = {"w": np.zeros(3, np.float32)}


@pytest.fixture
def context():
    fl_ctx = FLContext()
    fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, make_model_learnable(dict(REFERENCE), {}))
    fl_ctx.set_prop(AppConstants.CURRENT_ROUND, 2)
    return fl_ctx


def contribution(site, values, *, cases=1, kind=DataKind.WEIGHT_DIFF, round_=2, figures=ROUND):
    dxo = DXO(kind, data=values, meta={MetaKey.NUM_STEPS_CURRENT_ROUND: cases, SITE_ROUND: figures})
    shareable = dxo.to_shareable()
    shareable.add_cookie(AppConstants.CONTRIBUTION_ROUND, round_)
    shareable.set_peer_props({ReservedKey.IDENTITY_NAME: site})
    return shareable


def test_unequal_sites_are_averaged_by_their_cases(context):
    aggregator = FedAvgAggregator()
    assert aggregator.accept(contribution("b", {"w": np.full(3, 4, np.float32)}, cases=1), context)
    assert aggregator.accept(contribution("a", {"w": np.full(3, 8, np.float32)}, cases=3), context)
    np.testing.assert_array_equal(read_dxo(aggregator.aggregate(context)).data["w"], np.full(3, 7))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"values": {"w": np.full(3, np.nan, np.float32)}}, "not finite"),
        ({"values": {"w": np.zeros(4, np.float32)}}, r"must be float32 \(3,\)"),
        ({"values": {"v": np.zeros(3, np.float32)}}, "1 tensors missing and 1 unknown"),
        ({"kind": DataKind.WEIGHTS}, "must be a weight difference"),
        ({"cases": 0}, "number of training cases"),
        ({"cases": None}, "number of training cases"),
        ({"figures": {**ROUND, "pixels": [1, 2]}}, "schema of SiteRound"),
        ({"figures": None}, "schema of SiteRound"),
        ({"round_": 1}, "belongs to round 1 and this is round 2"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_reason(context, wrong, reason):
    aggregator = FedAvgAggregator()
    values = wrong.pop("values", {"w": np.ones(3, np.float32)})
    assert not aggregator.accept(contribution("bad", values, **wrong), context)
    assert aggregator.accept(contribution("good", {"w": np.ones(3, np.float32)}), context)
    assert re.search(reason, aggregator.refusals["bad"])
    np.testing.assert_array_equal(read_dxo(aggregator.aggregate(context)).data["w"], np.ones(3))


def test_a_reset_forgets_the_round(context):
    aggregator = FedAvgAggregator()
    aggregator.accept(contribution("a", {"w": np.ones(3, np.float32)}), context)
    aggregator.reset(context)
    assert read_dxo(aggregator.aggregate(context)).data == {}
