# SPDX-License-Identifier: Apache-2.0
"""The state of a study on the server: what a run needs to go on after its process was killed.

FLARE's own snapshots do nothing since 2.8, and a restarted server gives a resubmitted job a new id; so the state
belongs to the study, not to the job: ``<workspace>/fedxai/studies/<study>`` of a provisioned server, outside all run
folders (FLARE removes those), and ``<run folder>/fedxai/studies/<study>`` in the simulator, where a workspace is a run.

After every round one file is written: tensors as safetensors, everything else as JSON in their header, nothing that
is unpickled. Its name holds the SHA-256 of its content, so that a file that was torn, cut or changed is told from a
whole one; it is moved into its place when it is on the disk; and the one before it is kept.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fedxai.errors import RunError, SettingsError
from fedxai.whole_file import whole_file

_FILE = re.compile(r"round_(\d{6})\.([0-9a-f]{64})\.safetensors")
_HEADER = "fedxai"
_GLOBAL, _BEST = "global.", "best."


@dataclass(frozen=True, kw_only=True)
class StudyState:
    """A run after a finished round."""

    round: int  # rounds that are finished
    settings: dict[str, Any]  # of the job, flat; a run goes on only under the same
    weights: dict[str, NDArray]
    best: dict[str, NDArray]  # empty: none was chosen yet
    best_round: int | None
    selector: dict[str, Any]
    notebook: dict[str, Any]  # the recorder's
    ledger: int  # entries of the server's ledger that the notebook tells of
    job: str


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The newest whole state, and the names of newer files that are damaged."""

    state: StudyState
    damaged: list[str] = field(default_factory=list)


class StudyStore:
    """Keeps the states of one study's last two rounds.

    Args:
        folder: of the study; made when something is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, state: StudyState) -> Path:
        """Write the state whole, or leave everything as it was.

        Raises:
            OSError: when the disk refuses.
        """
        content = _encoded(state)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"round_{state.round:06d}.{hashlib.sha256(content).hexdigest()}.safetensors"
        with whole_file(path) as unfinished, unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._prune(path, state.round)
        return path

    def load(self) -> Loaded | None:
        """The newest whole state; None where there is no file at all.

        Raises:
            RunError: when there are files and every one is damaged.
        """
        damaged: list[str] = []
        for round_, digest, path in self._files():
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == digest:
                return Loaded(state=_decoded(content), damaged=damaged)
            damaged.append(f"after round {round_}")
        if damaged:
            raise RunError(
                f"every state of the study is damaged ({', '.join(damaged)}); set resume to false to begin anew"
            )
        return None

    def clear(self) -> None:
        """Remove all states: the run is over, or begins anew."""
        for _, _, path in self._files():
            path.unlink()

    def _prune(self, newest: Path, round_: int) -> None:
        """Leave the newest and the one of an earlier round; what is of a later one belongs to a run that was left."""
        others = [(number, path) for number, _, path in self._files() if path != newest]
        before = next((path for number, path in others if number < round_), None)
        for _, path in others:
            if path != before:
                path.unlink()

    def _files(self) -> list[tuple[int, str, Path]]:
        """Round, stated digest and path of every state, the newest round first."""
        if not self.folder.is_dir():
            return []
        found = [(_FILE.fullmatch(path.name), path) for path in self.folder.iterdir()]
        files = [(int(match[1]), match[2], path) for match, path in found if match]
        return sorted(files, key=lambda file: (file[0], file[2].stat().st_mtime_ns), reverse=True)


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], *, study: str) -> None:
    """A run goes on only under the settings it began with.

    Raises:
        SettingsError: when a setting differs; the first is named with both values.
    """
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise SettingsError(
                f"study {study} cannot be resumed: {name} was {before.get(name)!r} and is {now.get(name)!r}; "
                "take the same settings, or set resume to false to begin anew"
            )


def flat(values: Any, name: str = "") -> dict[str, Any]:
    """Nested settings as one dictionary: ``{"a": {"b": [1]}}`` becomes ``{"a.b.0": 1}``."""
    if isinstance(values, Mapping):
        items = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, list | tuple):
        items = [(str(key), value) for key, value in enumerate(values)]
    else:
        return {name: values}
    parts = (flat(value, f"{name}.{key}" if name else key) for key, value in items)
    return {key: value for part in parts for key, value in part.items()}


def _encoded(state: StudyState) -> bytes:
    named = {_GLOBAL: state.weights, _BEST: state.best}
    tensors = {prefix + name: np.asarray(v, order="C") for prefix, part in named.items() for name, v in part.items()}
    words = {name: value for name, value in vars(state).items() if name not in ("weights", "best")}
    return save(tensors, metadata={_HEADER: json.dumps(words)})


def _decoded(content: bytes) -> StudyState:
    try:
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")
        words = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][_HEADER])
        parts = {
            prefix: {name.removeprefix(prefix): v for name, v in tensors.items() if name.startswith(prefix)}
            for prefix in (_GLOBAL, _BEST)
        }
        return StudyState(**words, weights=parts[_GLOBAL], best=parts[_BEST])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise RunError("the study's state was written by another version; set resume to false to begin anew") from error
