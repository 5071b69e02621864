# SPDX-License-Identifier: Apache-2.0
"""Best-model selection that ends the run when its metric never arrives, and passes over models that lost their E."""

from typing import Any

from nvflare.apis.fl_context import FLContext
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType
from nvflare.app_common.widgets.intime_model_selector import IntimeModelSelector

from fedxai.errors import SettingsError


class ModelSelector(IntimeModelSelector):
    """FLARE's selector, weighted by training cases, of the sites whose updates were accepted.

    FLARE's own hears a site's metric before the aggregator is asked, so that one it refuses would choose with the
    others; and it stays silent when the metric is missing.

    Args:
        key_metric: the validation metric that chooses the best global model; higher is better.
        validate_every: rounds from one validation at the sites to the next, as in their training settings.
        e_floor: a model whose E has fallen below this is not chosen, however good its metric; None: no floor.
    """

    def __init__(self, key_metric: str = "macro_auc", validate_every: int = 1, e_floor: float | None = None) -> None:
        super().__init__(weigh_by_local_iter=True, key_metric=key_metric)
        self.validate_every = validate_every
        self.e_floor = e_floor
        self.came = False  # the metric, in any round
        self.e: float | None = None  # of the newest global model that was explained; the workflow tells it

    def check(self) -> None:
        """Refuse settings that are none: asked by the workflow, because FLARE hides what a constructor raises.

        Raises:
            SettingsError: when the floor is not between 0 and 1, or validation is not every round or rarer.
        """
        every, floor = self.validate_every, self.e_floor
        if not isinstance(every, int) or every < 1:
            raise SettingsError(f"validate_every must be at least 1, got {every!r}")
        if floor is not None and not (isinstance(floor, (int, float)) and 0 < floor < 1):
            raise SettingsError(f"e_floor must be between 0 and 1, or null, got {floor!r}")

    def place(self) -> dict[str, float | bool | None]:
        """Where the selection stands, for a run that goes on later."""
        return {"best": float(self.best_val_metric), "came": self.came, "e": self.e}

    def go_on(self, *, best: float, came: bool, e: float | None) -> None:
        """Stand where an earlier run's selection stood."""
        self.best_val_metric = self.best_raw_val_metric = best
        self.came = came
        self.e = e

    @property
    def below_floor(self) -> bool:
        """Whether E is known to have fallen below the floor; a model that was not explained keeps the last known E."""
        return self.e_floor is not None and self.e is not None and self.e < self.e_floor

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Hear a site's metric once its update was accepted; all else as FLARE's."""
        if event_type == AppEventType.AFTER_CONTRIBUTION_ACCEPT:
            if fl_ctx.get_prop(AppConstants.AGGREGATION_ACCEPTED):
                self._before_accept(fl_ctx)
        elif event_type != AppEventType.BEFORE_CONTRIBUTION_ACCEPT:
            super().handle_event(event_type, fl_ctx)

    def _before_aggregate(self, fl_ctx: FLContext) -> Any:
        round_ = fl_ctx.get_prop(AppConstants.CURRENT_ROUND)
        self.came = self.came or self.validation_metric_sum_of_weights > 0
        if round_ and round_ % self.validate_every == 0 and not self.came:
            self.system_panic(
                f"model selection: no site reported {self.key_metric} up to round {round_}; choose a key_metric "
                "that the validation split of at least one site can give",
                fl_ctx,
            )
        if self.below_floor:
            self.log_info(
                fl_ctx, f"E {self.e:.3f} is below the floor {self.e_floor}: not a candidate", fire_event=False
            )
            self._reset_stats()
            return False
        return super()._before_aggregate(fl_ctx)
