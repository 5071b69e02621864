# SPDX-License-Identifier: Apache-2.0
"""An optimiser's state, kept from round to round in memory or in files, so that a fresh process goes on with it."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from fedxai.train.round_files import RoundFiles
from fedxai.whole_file import save_whole


class OptimizerState:
    """Keeps what a round's optimiser learned (moments), not its settings.

    Args:
        file: where it is kept, a file a round; None keeps it in memory.
        device: where restored tensors go.
    """

    def __init__(self, file: Path | None, device: torch.device) -> None:
        self._files = RoundFiles(file) if file else None
        self._device = device
        self._kept: tuple[int, dict[str, Any]] | None = None

    def restore(self, optimizer: torch.optim.Optimizer, round_: int) -> bool:
        """Give ``optimizer`` the state that the round before left; whether there was one."""
        state = self._left_by(round_ - 1)
        if state is None:
            return False
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        return True

    def keep(self, optimizer: torch.optim.Optimizer, round_: int) -> None:
        """Keep the state after ``round_``: whole, or not at all.

        Raises:
            OSError: the disk refuses.
        """
        state = optimizer.state_dict()["state"]
        if self._files is None:
            self._kept = (round_, state)
            return
        save_whole(self._files.of(round_), state)
        self._files.tidy(round_)

    def forget(self) -> None:
        """A run begins anew: what an earlier one left is none of its business."""
        self._kept = None
        if self._files is not None:
            self._files.forget()

    def _left_by(self, round_: int) -> dict[str, Any] | None:
        if self._files is None:
            if self._kept is None or self._kept[0] != round_:
                return None
            return deepcopy(self._kept[1])  # an optimiser goes on in what it is given
        path = self._files.of(round_)
        return torch.load(path, map_location=self._device, weights_only=True) if path.is_file() else None
