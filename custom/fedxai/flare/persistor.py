# SPDX-License-Identifier: Apache-2.0
# FLARE's attributes are typed as None until the job starts.
# pyright: reportOptionalMemberAccess=false
"""The global model on the server: FLARE's PyTorch persistor over a bundle's network."""

from collections.abc import Mapping

from numpy.typing import NDArray
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.model import ModelLearnable, make_model_learnable
from nvflare.app_opt.pt.file_model_persistor import PTFileModelPersistor

from fedxai.bundle import Bundle
from fedxai.errors import FedxaiError


class BundlePersistor(PTFileModelPersistor):
    """Starts from the bundle's network with seeded weights; saves the last and the best global model.

    Args:
        bundle: name of the MONAI bundle.
        seed: seed of the initial weights.
    """

    def __init__(self, bundle: str, seed: int = 0) -> None:
        super().__init__(load_device="cpu")
        self._bundle_name = bundle
        self._seed = seed

    def _initialize(self, fl_ctx: FLContext) -> None:
        try:
            self.model = Bundle.open(self._bundle_name).network(seed=self._seed)
        except FedxaiError as error:
            self.system_panic(str(error), fl_ctx)
            return
        super()._initialize(fl_ctx)

    def save_model(self, ml: ModelLearnable, fl_ctx: FLContext) -> None:
        """Save the global model after a round; a disk that takes no more ends the run with a sentence."""
        try:
            super().save_model(ml, fl_ctx)
        except (OSError, RuntimeError) as error:  # PyTorch's writer raises either
            reason = (getattr(error, "strerror", None) or "the disk refuses it").lower()
            self.system_panic(f"the server cannot save the global model, {reason}; make room, then resume", fl_ctx)

    def go_on(self, last: Mapping[str, NDArray], best: Mapping[str, NDArray], fl_ctx: FLContext) -> None:
        """Save the models of a run that is taken up again, where FLARE looks for them."""
        for weights, path in ((best, self._best_ckpt_save_path), (last, self._ckpt_save_path)):
            if weights:
                self._get_persistence_manager(fl_ctx).update(make_model_learnable(dict(weights), {}))
                self.save_model_file(path)
