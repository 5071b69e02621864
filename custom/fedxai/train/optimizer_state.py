# SPDX-License-Identifier: Apache-2.0
"""An optimiser's state, kept from round to round in memory or in files, so that a fresh process goes on with it."""

from pathlib import Path
from typing import Any

import torch

from fedxai.whole_file import whole_file

_KEPT = 3  # rounds: the one under way, the one before, and the one that a run with a corrupt state goes back to


class OptimizerState:
    """Keeps what a round's optimiser learned (moments), not its settings.

    A file a round, ``optimizer.pt`` becoming ``optimizer.7.pt``, and those of the last three rounds are kept: a run
    that goes on after a crash begins with a round that some sites have trained already.

    Args:
        file: where it is kept; None keeps it in memory.
        device: where restored tensors go.
    """

    def __init__(self, file: Path | None, device: torch.device) -> None:
        self._file = file
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
        """Keep the state after ``round_``: whole, or not at all."""
        state = optimizer.state_dict()["state"]
        if self._file is None:
            self._kept = (round_, state)
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(_of_round(self._file, round_)) as unfinished:
            torch.save(state, unfinished)
        _of_round(self._file, round_ - _KEPT).unlink(missing_ok=True)

    def forget(self) -> None:
        """A run begins anew: what an earlier one left is none of its business."""
        self._kept = None
        if self._file is not None:
            left = f"{self._file.stem}.*{self._file.suffix}"
            for path in (*self._file.parent.glob(left), *self._file.parent.glob(f".{left}.*.part")):
                path.unlink(missing_ok=True)

    def _left_by(self, round_: int) -> dict[str, Any] | None:
        if self._file is None:
            return self._kept[1] if self._kept is not None and self._kept[0] == round_ else None
        path = _of_round(self._file, round_)
        return torch.load(path, map_location=self._device, weights_only=True) if path.is_file() else None


def _of_round(file: Path, round_: int) -> Path:
    return file.with_suffix(f".{round_}{file.suffix}")
