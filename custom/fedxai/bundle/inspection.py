# SPDX-License-Identifier: Apache-2.0
"""What a bundle's folder holds, found out by reading only: its parts, what is missing, and what would run."""

from functools import cached_property
from pathlib import Path
from typing import Any

from fedxai.bundle.audit import audit, refusal
from fedxai.bundle.explain_config import ExplainConfig
from fedxai.bundle.files import digest, weights_digests
from fedxai.bundle.findings import Finding
from fedxai.bundle.mapping import Mapped, map_config
from fedxai.bundle.reading import read_config, train_config
from fedxai.bundle.resolved import resolved_config
from fedxai.errors import BundleError
from fedxai.records import Task
from fedxai.settings import checked


class Inspection:
    """A bundle's folder, read and not run; incomplete bundles can be looked at too.

    Raises:
        BundleError: when its metadata or training configuration is missing, not readable, or leads out of the bundle.
        SettingsError: when ``configs/explain.json`` breaks a rule.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        configs = folder / "configs"
        self.train_file = train_config(folder).name
        self.metadata = read_config(configs / "metadata.json")
        config = read_config(train_config(folder))
        self.explain: ExplainConfig | None = None
        if (configs / "explain.json").is_file():
            values = read_config(configs / "explain.json")
            self.explain = checked(ExplainConfig, values, what=f"{self.name}/configs/explain.json")
        resolved = resolved_config(folder, config, self.metadata)
        self.mapped: Mapped = map_config(resolved, self.explain.mapping if self.explain else {})

    @cached_property
    def findings(self) -> list[Finding]:
        """Everything that runs or could run, judged."""
        region = self.explain.region if self.explain else None
        config = {**self.mapped.config, "explained_region": region} if isinstance(region, dict) else self.mapped.config
        return audit(self.folder, config)

    @property
    def refusal(self) -> str | None:
        """Why the bundle is refused, in one sentence; None when it is not."""
        return refusal(self.name, self.findings)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that runs."""
        return digest(self.folder)

    @cached_property
    def weights(self) -> dict[str, str]:
        """SHA-256 of each file of weights."""
        return weights_digests(self.folder)

    @property
    def task(self) -> Task:
        """What the network is for: segmentation where the metadata gives its output that format."""
        try:
            written = self.metadata["network_data_format"]["outputs"]["pred"]["format"]
        except (KeyError, TypeError):
            written = None
        return "segmentation" if written in ("segmentation", "labels") else "classification"

    @property
    def class_names(self) -> list[str]:
        """One name a class.

        Raises:
            BundleError: when neither ``explain.json`` nor ``metadata.json`` gives them.
        """
        if self.explain and self.explain.class_names:
            return list(self.explain.class_names)
        try:
            definition: dict[str, Any] = self.metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
            return [str(definition[str(index)]) for index in range(len(definition))]
        except (KeyError, TypeError) as error:
            raise BundleError(
                f"bundle {self.name}: metadata.json needs network_data_format.outputs.pred.channel_def, "
                "one name a class (or explain.json class_names)"
            ) from error

    @property
    def missing(self) -> list[str]:
        """What has to be added before the bundle can be trained and explained here."""
        lacking = list(self.mapped.missing)
        if self.explain is None:
            lacking.append("configs/explain.json")
        try:
            _ = self.class_names
        except BundleError:
            lacking.append("class names")
        return lacking
