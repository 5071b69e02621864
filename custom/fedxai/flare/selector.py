# SPDX-License-Identifier: Apache-2.0
"""Best-model selection that ends the run when its metric never arrives."""

from typing import Any

from nvflare.apis.fl_context import FLContext
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.widgets.intime_model_selector import IntimeModelSelector


class ModelSelector(IntimeModelSelector):
    """FLARE's selector, weighted by training cases; FLARE's own stays silent when the metric is missing.

    Args:
        key_metric: the validation metric that chooses the best global model; higher is better.
    """

    def __init__(self, key_metric: str = "macro_auc") -> None:
        super().__init__(weigh_by_local_iter=True, key_metric=key_metric)

    def _before_aggregate(self, fl_ctx: FLContext) -> Any:
        round_ = fl_ctx.get_prop(AppConstants.CURRENT_ROUND)
        if round_ and self.validation_metric_sum_of_weights == 0:
            self.system_panic(
                f"model selection: no site reported {self.key_metric} in round {round_}; choose a key_metric "
                "that the validation split of at least one site can give",
                fl_ctx,
            )
        return super()._before_aggregate(fl_ctx)
