# SPDX-License-Identifier: Apache-2.0
# FLARE's attributes and headers are typed as None until the job starts.
# pyright: reportOptionalSubscript=false
"""FedAvg (Eq. 2) as a FLARE aggregator that refuses, by name and reason, what does not fit the global model."""

from numpy.typing import NDArray
from nvflare.apis.dxo import DXO, DataKind, MetaKey
from nvflare.apis.fl_constant import ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.aggregator import Aggregator
from nvflare.app_common.abstract.model import ModelLearnableKey
from nvflare.app_common.app_constant import AppConstants

from fedxai.combine.weights import check_update, fedavg
from fedxai.errors import FedxaiError, UpdateError
from fedxai.flare.messages import read_dxo, read_site_round


class FedAvgAggregator(Aggregator):
    """Averages the sites' weight differences by their numbers of training cases, see ``fedavg``.

    FLARE's in-time aggregator adds updates as they arrive, so its float32 sum depends on who is first; this one
    holds a round's updates (sites x model in memory) and sums in the order of names, so that a run repeats.
    """

    def __init__(self) -> None:
        super().__init__()
        self.updates: dict[str, dict[str, NDArray]] = {}
        self.cases: dict[str, int] = {}
        self.refusals: dict[str, str] = {}

    def accept(self, shareable: Shareable, fl_ctx: FLContext) -> bool:
        """Check an update against the global model and hold it; what is refused is kept by name with its reason."""
        site = str(shareable.get_peer_prop(ReservedKey.IDENTITY_NAME, default="?"))
        try:
            update, cases = self._checked(shareable, fl_ctx)
        except FedxaiError as error:
            self.refusals[site] = f"{type(error).__name__}: {error}"
            self.log_error(fl_ctx, f"{site}'s update is refused: {error}", fire_event=False)
            return False
        self.updates[site], self.cases[site] = update, cases
        return True

    def aggregate(self, fl_ctx: FLContext) -> Shareable:
        """The case-weighted mean difference; empty (and the run is ending by then) when there was no update."""
        mean = fedavg(self.updates, self.cases) if self.updates else {}
        return DXO(DataKind.WEIGHT_DIFF, data=mean).to_shareable()

    def reset(self, fl_ctx: FLContext) -> None:
        """Forget the round."""
        self.updates, self.cases, self.refusals = {}, {}, {}

    def _checked(self, shareable: Shareable, fl_ctx: FLContext) -> tuple[dict[str, NDArray], int]:
        current = fl_ctx.get_prop(AppConstants.CURRENT_ROUND)
        came_from = shareable.get_cookie(AppConstants.CONTRIBUTION_ROUND)
        if came_from != current:
            raise UpdateError(f"the update belongs to round {came_from} and this is round {current}")
        dxo = read_dxo(shareable)
        if dxo.data_kind != DataKind.WEIGHT_DIFF:
            raise UpdateError(f"an update must be a weight difference, got {dxo.data_kind}")
        global_model = fl_ctx.get_prop(AppConstants.GLOBAL_MODEL)
        check_update(dxo.data, global_model[ModelLearnableKey.WEIGHTS])
        cases = dxo.get_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND)
        if not isinstance(cases, int) or cases < 1:
            raise UpdateError(f"an update must say its number of training cases, at least 1, got {cases!r}")
        read_site_round(shareable)  # figures that break their schema spoil the update they come with
        return dxo.data, cases
