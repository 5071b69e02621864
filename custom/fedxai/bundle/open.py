# SPDX-License-Identifier: Apache-2.0
"""Open, check and fingerprint a MONAI bundle."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedxai.bundle.explain_config import ExplainConfig
from fedxai.errors import BundleError
from fedxai.records import BundleIdentity, Task
from fedxai.settings import BUNDLES_VARIABLE, checked

if TYPE_CHECKING:
    from monai.bundle import ConfigParser
    from torch import nn

_NEEDED = ("network_def", "optimizer", "loss", "train", "validate")
_CODE = ("configs", "scripts")


class Bundle:
    """A MONAI bundle on disk (contract 2).

    Example:
        >>> bundle = Bundle.open("brain_mri_tumor_classification")  # doctest: +SKIP
        >>> bundle.class_names  # doctest: +SKIP
        ['meningioma', 'glioma', 'pituitary']
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.metadata = _json(path / "configs" / "metadata.json")
        self._train = _json(path / "configs" / "train.json")
        missing = [key for key in _NEEDED if key not in self._train]
        if missing:
            raise BundleError(f"bundle {self.name}: configs/train.json lacks {', '.join(missing)}")
        self.version = str(self.metadata.get("version", "0"))
        self.class_names = _class_names(self.name, self.metadata)
        self.explain = checked(
            ExplainConfig, _json(path / "configs" / "explain.json"), what=f"{self.name}/configs/explain.json"
        )
        if self.explain.region == "label" and self.task != "segmentation":
            raise BundleError(f"bundle {self.name}: explain.json may say region 'label' of a segmentation only")
        self.digest = _digest(path)

    @classmethod
    def open(cls, name_or_path: str | Path) -> "Bundle":
        """The bundle of that name (in ``FEDXAI_BUNDLES`` or beside this package), or in that folder.

        Raises:
            BundleError: when there is none (the known ones are listed) or it is incomplete.
        """
        path = Path(name_or_path)
        if (path / "configs").is_dir():
            return cls(path.resolve())
        roots = bundle_roots()
        for root in roots:
            if (root / path.name / "configs").is_dir() and path.name == str(name_or_path):
                return cls((root / path.name).resolve())
        known = sorted(child.parent.name for root in roots for child in root.glob("*/configs") if child.is_dir())
        raise BundleError(f"no bundle {path.name!r}; known bundles: {', '.join(known) or 'none'}")

    @property
    def identity(self) -> BundleIdentity:
        """Name, version, digest and classes, as they stand in the report."""
        return BundleIdentity(name=self.name, version=self.version, digest=self.digest, class_names=self.class_names)

    @property
    def task(self) -> Task:
        """What the network is for: segmentation where the metadata gives its output that format."""
        output = self.metadata["network_data_format"]["outputs"]["pred"]
        return "segmentation" if output.get("format") == "segmentation" else "classification"

    @property
    def question(self) -> dict[str, Any]:
        """How ``fedxai.score.examine`` is asked about this network; of a segmentation, class by class above 0."""
        asked = {"target_layer": self.explain.target_layer, "target_class": self.explain.target_class}
        if self.task == "classification":
            return asked
        return {**asked, "target_class": "label", "classes": tuple(range(1, len(self.class_names)))}

    def parser(self, overrides: dict[str, Any] | None = None) -> "ConfigParser":
        """MONAI's parser over ``train.json`` and ``metadata.json``; ``overrides`` by id (``train#dataset``)."""
        from monai.bundle import ConfigParser

        # MONAI's LoadImage says once per transform that NVIDIA's DICOM decoder is not installed
        logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
        parser = ConfigParser()
        parser.read_config(str(self.path / "configs" / "train.json"))
        parser.read_meta(str(self.path / "configs" / "metadata.json"))
        for key, value in {"bundle_root": str(self.path), **(overrides or {})}.items():
            parser.set(value, key, recursive=True)
        return parser

    def network(self, *, seed: int = 0) -> "nn.Module":
        """The bundle's network with fresh weights, the same for the same seed."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.parser({"device": "cpu"}).get_parsed_content("network_def")

    def export(self, folder: Path, weights: Mapping[str, Any]) -> Path:
        """Write the bundle with these weights as ``folder/<name>``, ready for ``python -m monai.bundle run``.

        The weights are a plain state dict in ``models/model.pt``; an earlier export there is replaced whole.

        Returns:
            The exported bundle's folder.
        """
        import torch

        target, partial = folder / self.name, folder / f".{self.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        ignored = shutil.ignore_patterns("__pycache__", "models", "eval")
        shutil.copytree(self.path, partial, ignore=ignored)
        (partial / "models").mkdir()
        torch.save({name: torch.as_tensor(value) for name, value in weights.items()}, partial / "models" / "model.pt")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
        return target


def bundle_roots() -> list[Path]:
    """Where bundles are looked for by name: ``FEDXAI_BUNDLES``, then ``bundles/`` of this checkout."""
    named = os.environ.get(BUNDLES_VARIABLE)
    beside = Path(__file__).resolve().parents[3] / "bundles"
    return [root for root in ([Path(named)] if named else []) + [beside] if root.is_dir()]


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"bundle {path.parents[1].name} lacks configs/{path.name}") from error
    except (OSError, json.JSONDecodeError) as error:
        raise BundleError(f"bundle {path.parents[1].name}: configs/{path.name} is not readable JSON") from error


def _class_names(name: str, metadata: dict[str, Any]) -> list[str]:
    try:
        definition = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
        return [str(definition[str(index)]) for index in range(len(definition))]
    except (KeyError, TypeError) as error:
        raise BundleError(
            f"bundle {name}: metadata.json needs network_data_format.outputs.pred.channel_def, one name a class"
        ) from error


def _digest(path: Path) -> str:
    """SHA-256 over names and bytes of every file that runs (configs/ and scripts/)."""
    digest = hashlib.sha256()
    for folder in _CODE:
        for file in sorted((path / folder).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(file.relative_to(path).as_posix().encode() + b"\0")
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
