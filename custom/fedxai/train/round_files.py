# SPDX-License-Identifier: Apache-2.0
"""What a site keeps from round to round, a file a round: a run that goes on after a crash repeats some of them."""

from pathlib import Path

_KEPT = 3  # rounds: the one under way, the one before, and the one that a run with a corrupt state goes back to


class RoundFiles:
    """Files named by round: ``optimizer.pt`` becomes ``optimizer.7.pt``; the last three are kept.

    Args:
        file: the name without a round.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def of(self, round_: int) -> Path:
        """The file of a round, there or not; its folder is there."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        return self._file.with_suffix(f".{round_}{self._file.suffix}")

    def before(self, round_: int) -> Path | None:
        """The file of the newest earlier round; None where there is none."""
        earlier = [known for known in self._rounds() if known < round_]
        return self.of(max(earlier)) if earlier else None

    def tidy(self, round_: int) -> None:
        """Remove all but the last three up to ``round_``."""
        for old in [known for known in self._rounds() if known <= round_][:-_KEPT]:
            self.of(old).unlink(missing_ok=True)

    def forget(self) -> None:
        """A run begins anew: what an earlier one left is none of its business."""
        for path in (*self._file.parent.glob(self._any), *self._file.parent.glob(f".{self._any}.*.part")):
            path.unlink(missing_ok=True)

    @property
    def _any(self) -> str:
        return f"{self._file.stem}.*{self._file.suffix}"

    def _rounds(self) -> list[int]:
        found = (path.name.split(".")[-2] for path in self._file.parent.glob(self._any))
        return sorted(int(round_) for round_ in found if round_.isdigit())
