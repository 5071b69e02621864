# SPDX-License-Identifier: Apache-2.0
"""The production form of a job: configuration only, for named sites or all; FLARE signs it when it is submitted."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nvflare.apis.job_def import ALL_SITES

from fedxai.errors import SettingsError
from fedxai.flare.kit import edit_json
from fedxai.flare.simulate import check_job, prepare_job

_NOTE = "README.md"


def pack_job(
    job: Path,
    out: Path,
    *,
    sites: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``job`` as real sites take it: without a ``custom`` folder and without paths of the simulator.

    Args:
        job: a FLARE job folder that holds configuration only.
        out: the packed job, a new folder; its name is the job's name in the console.
        sites: who takes part; none named: all sites.
        settings: values that replace those at the top of the job's configuration.
        train: values that are added to the sites' training settings.

    Returns:
        ``out``, for the console's ``submit_job``, which signs every file with the submitter's key.

    Raises:
        SettingsError: when ``out`` exists, the job carries code, or a setting is unknown.
    """
    check_job(job)
    if out.exists():
        raise SettingsError(f"--out must be a new folder, got {out.name!r}, which exists")
    code = _code(job)
    if code:
        raise SettingsError(
            f"job {job.name} carries {', '.join(code[:3])}, and no site takes code from a job; "
            "install it at the sites as a package instead"
        )
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        prepare_job(job, partial, list(sites), {**(settings or {}), "cohorts": None}, train or {})
        _strip(partial)
        edit_json(partial / "meta.json", lambda meta: _address(meta, out.name, sites))
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _code(job: Path) -> list[str]:
    """What is neither configuration nor a note, relative to the job."""
    files = [path for path in sorted(job.rglob("*")) if path.is_symlink() or not path.is_dir()]
    return [file.relative_to(job).as_posix() for file in files if file.is_symlink() or not _is_config(file, job)]


def _is_config(file: Path, job: Path) -> bool:
    folders = file.relative_to(job).parts[:-1]
    return file.name == _NOTE or (file.suffix == ".json" and (not folders or folders[1:] == ("config",)))


def _strip(job: Path) -> None:
    """An app with a ``custom`` folder counts as code, whatever is in it."""
    for folder in [*job.glob("*/custom")]:
        shutil.rmtree(folder)
    for note in job.rglob(_NOTE):
        note.unlink()


def _address(meta: dict[str, Any], name: str, sites: Sequence[str]) -> None:
    meta["name"] = name
    meta["deploy_map"] = {"app": ["server", *sites] if sites else [ALL_SITES]}
