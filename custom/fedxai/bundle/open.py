# SPDX-License-Identifier: Apache-2.0
"""Open, check and fingerprint a MONAI bundle."""

import logging
import os
import pickle
import shutil
import warnings
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedxai.bundle.inspection import Inspection
from fedxai.bundle.scripts import PACKAGE, make_importable
from fedxai.errors import BundleError
from fedxai.records import BundleIdentity, Task
from fedxai.settings import BUNDLES_VARIABLE
from fedxai.whole_file import save_whole

if TYPE_CHECKING:
    from monai.bundle import ComponentLocator, ConfigParser
    from torch import Tensor, nn

SHIPPED = Path(__file__).resolve().parents[3] / "bundles"  # of this checkout
WEIGHTS = "models/model.pt"


class Bundle:
    """A MONAI bundle on disk (contract 2).

    Example:
        >>> bundle = Bundle.open("brain_mri_tumor_classification")  # doctest: +SKIP
        >>> bundle.class_names  # doctest: +SKIP
        ['meningioma', 'glioma', 'pituitary']
    """

    def __init__(self, path: Path) -> None:
        self.inspection = Inspection(path)
        self.path = path
        self.name = path.name
        self.metadata = self.inspection.metadata
        if self.inspection.explain is None:
            raise BundleError(f"bundle {self.name} lacks configs/explain.json")
        if self.inspection.mapped.missing:
            lacking = ", ".join(self.inspection.mapped.missing)
            raise BundleError(f"bundle {self.name}: configs/{self.inspection.train_file} lacks {lacking}")
        self.version = str(self.metadata.get("version", "0"))
        self.class_names = self.inspection.class_names
        self.explain = self.inspection.explain
        if self.explain.region == "label" and self.task != "segmentation":
            raise BundleError(f"bundle {self.name}: explain.json may say region 'label' of a segmentation only")
        self.digest = self.inspection.digest

    @classmethod
    def open(cls, name_or_path: str | Path) -> "Bundle":
        """The bundle of that name (in ``FEDXAI_BUNDLES`` or beside this package), or in that folder.

        Raises:
            BundleError: when there is none (the known ones are listed) or it is incomplete.
        """
        return cls(bundle_folder(name_or_path))

    @property
    def identity(self) -> BundleIdentity:
        """Name, version, digest and classes, as they stand in the report."""
        return BundleIdentity(name=self.name, version=self.version, digest=self.digest, class_names=self.class_names)

    @property
    def task(self) -> Task:
        """What the network is for."""
        return self.inspection.task

    @property
    def question(self) -> dict[str, Any]:
        """How ``fedxai.score.examine`` is asked about this network; of a segmentation, class by class above 0."""
        asked = {
            "target_layer": self.explain.target_layer,
            "target_class": self.explain.target_class,
            "black": self.explain.input_range[0],
        }
        if self.task == "classification":
            return asked
        return {**asked, "target_class": "label", "classes": tuple(range(1, len(self.class_names)))}

    @property
    def questions(self) -> int:
        """How often a case is asked about: once, of a segmentation once for each class above 0."""
        return 1 if self.task == "classification" else len(self.class_names) - 1

    def parser(self, overrides: dict[str, Any] | None = None) -> "ConfigParser":
        """MONAI's parser over what the engine asks for (``network_def``, ``train#trainer`` ...) and nothing else.

        Whatever the bundle names its parts, they stand under the Model Zoo's ids here; ``overrides`` are by those ids.

        Raises:
            BundleError: when the bundle holds anything that is not on the allow list (``fedxai bundle check``).
        """
        from monai.bundle import ConfigParser

        if self.inspection.refusal:
            raise BundleError(self.inspection.refusal)
        if (self.path / PACKAGE).is_dir():
            make_importable(self.path)
        # MONAI's LoadImage says once per transform, in two ways, that NVIDIA's DICOM decoder is not installed
        logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
        parser = ConfigParser(deepcopy(self.inspection.mapped.config))
        parser.locator = _components()
        for key, value in {"bundle_root": str(self.path), **(overrides or {})}.items():
            parser.set(value, key, recursive=True)
        return parser

    def network(self, *, seed: int = 0) -> "nn.Module":
        """The bundle's network with fresh weights, the same for the same seed."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.parser({"device": "cpu"}).get_parsed_content("network_def")

    def weights(self) -> "dict[str, Tensor]":
        """The trained weights that lie in the bundle (``models/model.pt``), on the CPU.

        The file holds a plain state dict, or a checkpoint that has one under ``model``, as MONAI's ``CheckpointSaver``
        writes it beside an optimiser's.

        Raises:
            BundleError: when there are none, or they cannot be read as such.
        """
        import torch

        file = self.path / WEIGHTS
        if not file.is_file():
            raise BundleError(f"bundle {self.name} has no weights ({WEIGHTS}); name a run, or the bundle it exported")
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise BundleError(f"bundle {self.name}: {WEIGHTS} cannot be read as weights") from error
        if isinstance(state, Mapping) and isinstance(state.get("model"), Mapping):
            state = state["model"]
        if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
            raise BundleError(
                f"bundle {self.name}: {WEIGHTS} must hold a plain state dict of tensors, or one as 'model'"
            )
        return dict(state)

    def export(self, folder: Path, weights: Mapping[str, Any]) -> Path:
        """Write the bundle with these weights as ``folder/<name>``, ready for ``python -m monai.bundle run``.

        The weights are a plain state dict in ``models/model.pt``; an earlier export there is replaced whole, or stays.

        Returns:
            The exported bundle's folder.

        Raises:
            OSError: the disk refuses.
        """
        import torch

        target, partial = folder / self.name, folder / f".{self.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            ignored = shutil.ignore_patterns("__pycache__", "models", "eval")
            shutil.copytree(self.path, partial, ignore=ignored)
            (partial / "models").mkdir()
            save_whole(partial / WEIGHTS, {name: torch.as_tensor(value) for name, value in weights.items()})
            shutil.rmtree(target, ignore_errors=True)
            os.replace(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return target


@cache
def _components() -> "ComponentLocator":
    """MONAI's table of its own names: a parser that makes one for itself takes as long as two steps of training."""
    from monai.bundle import ComponentLocator

    return ComponentLocator()


def bundle_roots() -> list[Path]:
    """Where bundles are looked for by name: ``FEDXAI_BUNDLES``, then ``bundles/`` of this checkout."""
    named = os.environ.get(BUNDLES_VARIABLE)
    return [root for root in ([Path(named)] if named else []) + [SHIPPED] if root.is_dir()]


def bundle_folder(name_or_path: str | Path) -> Path:
    """The folder of the bundle of that name, or that folder.

    Raises:
        BundleError: when there is none (the known ones are listed).
    """
    path = Path(name_or_path)
    if (path / "configs").is_dir():
        return path.resolve()
    roots = bundle_roots()
    for root in roots:
        if (root / path.name / "configs").is_dir() and path.name == str(name_or_path):
            return (root / path.name).resolve()
    known = sorted(child.parent.name for root in roots for child in root.glob("*/configs") if child.is_dir())
    raise BundleError(f"no bundle {path.name!r}; known bundles: {', '.join(known) or 'none'}")
