# SPDX-License-Identifier: Apache-2.0
"""The trained model that a person names: a run's best or last one, or a bundle with weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedxai.bundle.open import Bundle, bundle_folder
from fedxai.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

_MODELS = ("best", "last")
RESULTS = (".", "fedxai", "server/*/fedxai")  # the results folder itself, a job's folder, a run's folder


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A bundle and the weights that go into its network."""

    bundle: Bundle
    weights: "Mapping[str, Tensor]"


def find_trained(name: str, which: str) -> Trained:
    """The exported model of a run, or a bundle that holds weights.

    Args:
        name: the folder that ``fedxai run --out`` wrote, its ``fedxai/`` results folder, a bundle's folder, or the
            name of a bundle.
        which: ``best`` or ``last``; of a run only.

    Raises:
        RunError: when the folder is no run, or the run has no such model.
        BundleError: when there is no bundle of that name, or it has no weights that can be read.
    """
    bundle = Bundle.open(find_exported(name, which))
    return Trained(bundle=bundle, weights=bundle.weights())


def find_exported(name: str, which: str) -> Path:
    """The folder of the bundle that :func:`find_trained` opens.

    Raises:
        RunError: when the folder is no run, or the run has no such model.
        BundleError: when there is no bundle of that name.
    """
    path = Path(name)
    return _exported(path, which) if path.is_dir() and not (path / "configs").is_dir() else bundle_folder(name)


def _exported(run: Path, which: str) -> Path:
    """The one bundle in the run's ``best/`` or ``last/``."""
    homes = {home.name: home for part in RESULTS for kind in _MODELS for home in run.glob(f"{part}/{kind}")}
    exported = {
        kind: bundle.parent for kind, home in sorted(homes.items()) for bundle in sorted(home.glob("*/configs"))
    }
    if not exported:
        raise RunError(f"{run.name!r} is neither a run nor a bundle: it has no best/ or last/ model and no configs/")
    if which not in exported:
        raise RunError(f"run {run.name!r} has no {which} model; it has: {', '.join(exported)}")
    return exported[which]
