# SPDX-License-Identifier: Apache-2.0
"""Bring a published bundle here with MONAI's own download, whole and with the right checksum or not at all."""

import os
import shutil
import tempfile
from pathlib import Path

from fedxai.errors import BundleError
from fedxai.file_digest import sha256

SOURCES = ("monaihosting", "github", "ngc", "huggingface_hub")


def fetch(
    name: str,
    folder: Path,
    *,
    version: str | None = None,
    source: str = "monaihosting",
    url: str | None = None,
    checksum: str | None = None,
) -> Path:
    """Download a bundle into ``folder/<name>``.

    Args:
        name: the bundle's name in the source.
        folder: where bundles are kept.
        version: the version, default: the latest.
        source: where MONAI looks for it.
        url: an archive instead of a source.
        checksum: SHA-256 of the archive (ZIP).

    Returns:
        The bundle's folder.

    Raises:
        BundleError: when there is such a folder, nothing came, or the archive's checksum differs.
    """
    if not name.replace("_", "").replace("-", "").replace(".", "").isalnum() or name.startswith("."):
        raise BundleError(f"a bundle's name is letters, digits, _, - and ., got {name!r}")
    if source not in SOURCES:
        raise BundleError(f"no source {source!r}; known sources: {', '.join(SOURCES)}")
    target = folder / name
    if target.exists():
        raise BundleError(f"{name} is in {folder.name}/ already; remove it first")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as temporary:
        here = Path(temporary)
        _download(name, here, version=version, source=source, url=url)
        _check(here, checksum)
        os.replace(_bundle(here, name), target)
    return target


def _download(name: str, here: Path, *, version: str | None, source: str, url: str | None) -> None:
    from monai.bundle import download

    try:
        download(name=name, version=version, bundle_dir=str(here), source=source, url=url, progress=False)
    except Exception as error:  # MONAI passes on whatever its many sources raise
        raise BundleError(f"bundle {name} could not be fetched: {type(error).__name__}") from error


def _check(here: Path, checksum: str | None) -> None:
    if checksum is None:
        return
    archives = sorted(here.glob("*.zip"))
    if not archives:
        raise BundleError("this source gives folders and no archive, so there is nothing to hold the checksum against")
    found = sha256(archives[0])
    if found != checksum.lower():
        raise BundleError(f"the archive's SHA-256 is {found[:12]}..., not {checksum[:12]}...; nothing is kept")


def _bundle(here: Path, name: str) -> Path:
    """The one folder with ``configs/`` in what came."""
    found = sorted(configs.parent for configs in here.glob("*/configs") if configs.is_dir())
    if len(found) != 1:
        raise BundleError(f"what came for {name} holds {len(found)} bundles, must be one folder with configs/")
    shutil.rmtree(found[0] / "__pycache__", ignore_errors=True)
    return found[0]
