# SPDX-License-Identifier: Apache-2.0
"""An optimiser's state, kept from round to round in memory or in a file, so that a fresh process goes on with it."""

import os
from pathlib import Path
from typing import Any

import torch


class OptimizerState:
    """Keeps what a round's optimiser learned (moments), not its settings.

    Args:
        file: where it is kept; None keeps it in memory.
        device: where restored tensors go.
    """

    def __init__(self, file: Path | None, device: torch.device) -> None:
        self._file = file
        self._device = device
        self._kept: dict[str, Any] | None = None

    def restore(self, optimizer: torch.optim.Optimizer, round_: int) -> None:
        """Give ``optimizer`` the state that the round before left; nothing where there is none."""
        if round_ == 0:
            return
        state = self._kept
        if state is None and self._file is not None and self._file.is_file():
            state = torch.load(self._file, map_location=self._device, weights_only=True)
        if state is not None and state["round"] == round_ - 1:
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state["state"], "param_groups": groups})

    def keep(self, optimizer: torch.optim.Optimizer, round_: int) -> None:
        """Keep the state after ``round_``: whole, or the earlier one stays."""
        state = {"round": round_, "state": optimizer.state_dict()["state"]}
        if self._file is None:
            self._kept = state
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self._file)
