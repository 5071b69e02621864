# SPDX-License-Identifier: Apache-2.0
"""The model that is served: looked for anew at every question, loaded only when it lies there whole."""

import hashlib
import io
import logging
import pickle
import zipfile
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from fedxai.bundle import Bundle, bundle_folder, bundle_roots
from fedxai.bundle.approval import LIST_FILE, ApprovedBundles, list_for
from fedxai.bundle.files import code_files
from fedxai.bundle.inspection import Inspection
from fedxai.bundle.open import WEIGHTS
from fedxai.bundle.trained import find_exported
from fedxai.errors import BundleError, FedxaiError
from fedxai.label.served import Served
from fedxai.settings import SITE_FILE, SiteSettings

_log = logging.getLogger(__name__)
_Signature = tuple[tuple[str, int, int, int], ...]


class ModelWatch:
    """Gives the model that lies at a place now: a new global model needs no restart.

    A model that is still being copied, is damaged, does not fit its network or was not approved is not taken; the
    one before it goes on answering, unless its own approval was withdrawn, and ``trouble`` says why. What is refused
    is looked at again once its files or a list of approved bundles change, and what could not be read at the next
    question.

    Args:
        name: a run's folder, a bundle's folder, or a bundle's name.
        which: ``best`` or ``last``; of a run only.
        site: the ``local/`` folder of a site, whose list of approved bundles decides; None: bundles of this checkout,
            and those on a list beside them.
        device: ``cpu``, ``cuda`` ..., or ``auto``.
    """

    def __init__(self, name: str, *, which: str = "best", site: Path | None = None, device: str = "auto") -> None:
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self.device = torch.device(chosen)
        self.trouble: str | None = None
        self._name, self._which, self._site = name, which, site
        self._seen: _Signature | None = None
        self._served: Served | None = None
        self._lock = Lock()

    def current(self) -> Served:
        """The newest whole model.

        Raises:
            FedxaiError: there has been none yet, or its approval was withdrawn, and what lies there cannot be taken.
        """
        with self._lock:
            try:
                self._look()
            except (FedxaiError, OSError) as error:
                if self._served is None or _unread(error):
                    self._seen = None
                if self._served is None:
                    raise
                self._refuse(error)
            assert self._served is not None
            return self._served

    def _look(self) -> None:
        before, self._seen = self._seen, None  # what keeps from looking is no judgement of what lies there
        folder = find_exported(self._name, self._which)
        self._seen = _signature(folder, self._site)
        if self._seen != before:
            if self._served is not None and self._withdrawn(self._served.bundle.inspection):
                self._served = None
            self._take(folder, self._seen)

    def _withdrawn(self, inspection: Inspection) -> bool:
        try:
            admit(inspection, self._site)
        except BundleError as error:
            return not _unread(error)
        return False

    def _take(self, folder: Path, signature: _Signature) -> None:
        content = _content(folder)  # first: the check takes weights that cannot be read for no weights
        bundle = Bundle.open(folder)
        admit(bundle.inspection, self._site)
        weights = whole_weights(content, bundle.name)
        if _signature(folder, self._site) != signature:
            raise BundleError(f"bundle {bundle.name} is being replaced; it is taken when it lies there whole")
        digest = hashlib.sha256(content).hexdigest()
        self._served = Served(bundle=bundle, weights=weights, digest=digest, device=self.device)
        self.trouble = None
        _log.info("serving bundle %s, weights %s", bundle.name, digest[:12])

    def _refuse(self, error: Exception) -> None:
        trouble = str(error) if isinstance(error, FedxaiError) else "the model's files cannot be read"
        if trouble != self.trouble:
            _log.warning("the model that lies there now is not served: %s", trouble)
        self.trouble = trouble


def whole_weights(content: bytes, name: str) -> dict[str, Tensor]:
    """The state dict in a file's bytes, plain or under ``model``, read without running anything of it.

    PyTorch itself does not compare the checksums in its files: a file that was given its full size before its content
    came would load as zeros.

    Raises:
        BundleError: when it is not whole, or is no state dict of finite tensors.
    """
    try:
        packed = zipfile.ZipFile(io.BytesIO(content))
        if any(part.endswith("/constants.pkl") for part in packed.namelist()):
            raise BundleError(f"bundle {name}: {WEIGHTS} is TorchScript, which is not read; place a state dict")
        damaged = packed.testzip()
        state: Any = None if damaged else torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, OSError, pickle.UnpicklingError) as error:
        raise BundleError(f"bundle {name}: {WEIGHTS} is not a whole file of weights") from error
    if isinstance(state, dict) and isinstance(state.get("model"), dict):  # as MONAI's CheckpointSaver writes it
        state = state["model"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise BundleError(f"bundle {name}: {WEIGHTS} must hold a whole state dict of tensors, plain or as 'model'")
    if not all(bool(value.isfinite().all()) for value in state.values()):
        raise BundleError(f"bundle {name}: {WEIGHTS} holds values that are not finite")
    return state


def admit(inspection: Inspection, site: Path | None) -> None:
    """Let a bundle be served, or refuse it: what runs is decided by digest, its weights are new after every round.

    Raises:
        BundleError: when it is neither on the site's list nor, where no site is named, one of this checkout's.
    """
    if inspection.refusal:
        raise BundleError(inspection.refusal)
    listed = {entry.digest for entry in ApprovedBundles.read(list_for(inspection, site)).bundles}
    if inspection.digest in listed or (site is None and inspection.digest in _own(inspection.name)):
        return
    raise BundleError(
        f"bundle {inspection.name} with digest {inspection.digest[:12]} is not on the list of approved bundles; "
        "read it with `fedxai bundle check`, then `fedxai bundle approve`"
    )


def _own(name: str) -> set[str]:
    """Digests of this checkout's bundle of that name, and of one on the list in its root."""
    found: set[str] = set()
    for root in bundle_roots():
        folder = root / name
        if (folder / "configs").is_dir():
            inspection = Inspection(bundle_folder(folder))
            found |= {inspection.digest} | {
                entry.digest for entry in ApprovedBundles.read(list_for(inspection, None)).bundles
            }
    return found


def _lists(folder: Path, site: Path | None) -> list[Path]:
    """The files in which :func:`admit` finds what is approved; of a site also that which names its list."""
    if site:
        return [site / SITE_FILE, site / SiteSettings.read(site).approved_bundles]
    folders = [folder, *(root / folder.name for root in bundle_roots())]
    return [bundle_folder(one).parent / LIST_FILE for one in folders if (one / "configs").is_dir()]


def _content(folder: Path) -> bytes:
    file = folder / WEIGHTS
    if not file.is_file():
        raise BundleError(f"bundle {folder.name} has no weights ({WEIGHTS}); name a run, or the bundle it exported")
    return file.read_bytes()


def _signature(folder: Path, site: Path | None) -> _Signature:
    """Names, inodes, times and sizes of the weights, of everything that runs with them, and of what approves it."""
    files = [folder / WEIGHTS, *code_files(folder), *_lists(folder, site)]
    known = [(file, file.stat()) for file in files if file.is_file()]
    return tuple((str(file), stat.st_ino, stat.st_mtime_ns, stat.st_size) for file, stat in known)


def _unread(error: Exception) -> bool:
    """Whether the disk refused something, so that trying again may help though nothing is changed."""
    return isinstance(error, OSError) or isinstance(error.__cause__, OSError)
