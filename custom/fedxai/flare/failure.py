# SPDX-License-Identifier: Apache-2.0
"""The sentence that ended a run, written where a person looks, even when the disk is full."""

from pathlib import Path

FAILURE = "failed.txt"
_ROOM = ".room_for_a_sentence"
_SIZE = 2048  # bytes


class FailureNote:
    """Keeps room on the disk for one sentence from the start of a run.

    Args:
        folder: of the run's results.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FAILURE
        self._room = folder / _ROOM

    def reserve(self) -> None:
        """Take the room.

        Raises:
            OSError: when there is none.
        """
        self._path.unlink(missing_ok=True)
        self._room.write_bytes(b" " * _SIZE)

    def write(self, reason: str) -> bool:
        """Leave the sentence; the first one of a run stays, and only then the answer is true.

        Raises:
            OSError: when the disk refuses what was reserved.
        """
        if self._path.exists() or not self._room.is_file():
            return False
        with self._room.open("r+b") as file:  # writes over what is there, so it needs no room
            file.write(" ".join(reason.split()).encode()[: _SIZE - 1] + b"\n")
            file.truncate()
        self._room.rename(self._path)
        return True

    def release(self) -> None:
        """The run did what it was asked: give the room back."""
        self._room.unlink(missing_ok=True)
