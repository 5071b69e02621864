# SPDX-License-Identifier: Apache-2.0
# FLARE's attributes are typed as None until the job starts.
# pyright: reportOptionalMemberAccess=false
"""The global model on the server: FLARE's PyTorch persistor over a bundle's network."""

from collections.abc import Mapping

from numpy.typing import NDArray
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.model import ModelLearnable, make_model_learnable
from nvflare.app_opt.pt.file_model_persistor import PTFileModelPersistor
from torch import nn

from fedxai.bundle import Bundle
from fedxai.errors import BundleError, FedxaiError
from fedxai.flare.admission import server_bundle


class BundlePersistor(PTFileModelPersistor):
    """Starts from the bundle's network with seeded, or given, weights; saves the last and the best global model.

    Args:
        bundle: name of the MONAI bundle.
        seed: seed of the initial weights.
        model: folder on the server of an exported bundle whose weights are the first global model instead.
    """

    def __init__(self, bundle: str, seed: int = 0, model: str | None = None) -> None:
        super().__init__(load_device="cpu")
        self._bundle_name = bundle
        self._seed = seed
        self._model = model

    def _initialize(self, fl_ctx: FLContext) -> None:
        try:
            self.model = self._network(server_bundle(self._bundle_name, fl_ctx))
        except FedxaiError as error:
            self.system_panic(str(error), fl_ctx)
            return
        super()._initialize(fl_ctx)

    def _network(self, bundle: Bundle) -> nn.Module:
        network = bundle.network(seed=self._seed)
        if self._model is None:
            return network
        if not self._model:
            raise BundleError("model must name an exported bundle on the server, got none; see `fedxai run --model`")
        trained = Bundle.open(self._model)
        if trained.digest != bundle.digest:
            raise BundleError(
                f"model: it was trained in another version of bundle {bundle.name} (digest {trained.digest[:12]}, "
                f"the server's is {bundle.digest[:12]})"
            )
        try:
            network.load_state_dict(trained.weights())
        except RuntimeError as error:
            raise BundleError(f"model: its weights don't fit the network of bundle {bundle.name}") from error
        return network

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
