# SPDX-License-Identifier: Apache-2.0
"""Reports reach the disk whole: staged, then moved, so that a failure keeps the old one."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fedxai.errors import RunError


def strict_json(record: BaseModel) -> bytes:
    """The record as JSON without NaN or Infinity: what is not finite becomes null."""
    text = json.dumps(_finite(record.model_dump(mode="json")), indent=2, allow_nan=False, ensure_ascii=False)
    return f"{text}\n".encode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_files(folder: Path, files: Mapping[str, bytes], *, retired: Iterable[str] = ()) -> None:
    """Write all files or none of them, as far as a file system can promise.

    Every file is first written completely to a temporary folder in ``folder``; only then is each moved into
    its place with ``os.replace``, in the order given (so the page that shows the others comes last).

    Args:
        folder: made where it does not exist; what else is in it stays.
        files: relative POSIX path to content.
        retired: relative paths of an earlier report to remove where they are not in ``files``.

    Raises:
        RunError: when the disk refuses; earlier files are then kept.
    """
    stage: Path | None = None
    try:
        with disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            stage = Path(tempfile.mkdtemp(prefix=".report-", dir=folder))
            _stage_and_move(stage, folder, files)
            for name in set(retired) - set(files):
                (folder / name).unlink(missing_ok=True)
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """What the disk refuses becomes one sentence that names the folder and the remedy."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise RunError(f"{folder.name}: writing failed, {reason}; make room or choose another folder") from error


def _stage_and_move(stage: Path, folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        _write_durably(stage / name, content)
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(stage / name, folder / name)


def _write_durably(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
