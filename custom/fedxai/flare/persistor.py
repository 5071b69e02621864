# SPDX-License-Identifier: Apache-2.0
"""The global model on the server: FLARE's PyTorch persistor over a bundle's network."""

from nvflare.apis.fl_context import FLContext
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
