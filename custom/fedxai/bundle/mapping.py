# SPDX-License-Identifier: Apache-2.0
"""Translate a bundle's configuration into the ids that the engine asks for, and leave behind what it does not need.

What comes out holds ``network_def``, ``network``, ``loss``, ``optimizer``, ``lr_scheduler``, ``train#...`` and
``validate#...`` as the Model Zoo names them, and whatever those refer to. Data lists, handlers, checkpoints, loggers
and everything else of the bundle's files are not in it, so they cannot run at a site. Metrics are found and named, and
left behind too: every bundle is measured alike, by figures that may leave a site.
"""

import ast
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from fedxai.bundle.expression import imported
from fedxai.bundle.reading import strings

Config = dict[str, Any]
_PART = {
    "train": ("trainer", "train_data_loader", "train_handlers", "SupervisedTrainer", "key_train_metric"),
    "validate": ("evaluator", "val_data_loader", "val_handlers", "SupervisedEvaluator", "key_val_metric"),
}
_LOADER_KEYS = ("shuffle", "drop_last", "collate_fn")
_DEVICE = "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')"
_AMP = "$torch.device(@device).type == 'cuda'"
_CACHE = 4096


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """A bundle's configuration under the engine's ids.

    Attributes:
        config: what may run at a site, and nothing else.
        found: by what the engine asks for, or is told only: the id in the bundle.
        metrics: of what is told only, by the same ids: the metrics that the bundle names there.
        missing: what the engine asks for and the bundle lacks.
        notes: what is not used as it stands in the bundle.
    """

    config: Config = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def map_config(config: Config, mapping: Mapping[str, str]) -> Mapped:
    """The engine's view of a bundle.

    Args:
        config: the bundle's configuration, macros and relative ids resolved.
        mapping: ids in the bundle, by the engine's ids, where the bundle names things in its own way.
    """
    mapper = _Mapper(config, mapping)
    for part in _PART:
        mapper.engine(part)
    mapper.network()
    mapper.rest()
    mapper.needed()
    return mapper.mapped


class _Mapper:
    def __init__(self, config: Config, mapping: Mapping[str, str]) -> None:
        self._source = config
        self._mapping = {key.replace("#", "::"): value.replace("#", "::") for key, value in mapping.items()}
        self._trainer: Config = {}
        self.mapped = Mapped()

    def engine(self, part: str) -> None:
        """The trainer or the evaluator, rebuilt from what it is given."""
        name, loader_key, handlers_key, kind, key_metric = _PART[part]
        found, engine = self._find(f"{part}::{name}", name, self._validator() if part == "validate" else None)
        if not isinstance(engine, dict) or "_target_" not in engine:
            self.mapped.missing.append(f"{part}#{name}")
            return
        if str(engine["_target_"]).rpartition(".")[2] != kind:
            self.mapped.notes.append(f"{engine['_target_']} is replaced by {kind}")
        self.mapped.found[f"{part}#{name}"] = found
        ours: Config = {
            "_target_": kind,
            "device": "@device",
            "network": "@network",
            loader_key: f"@{part}::dataloader",
        }
        ours |= {key: deepcopy(engine[key]) for key in ("prepare_batch",) if key in engine}
        ours |= {"inferer": f"@{part}::inferer", "postprocessing": None, handlers_key: f"@{part}::handlers"}
        if self._follow(engine.get("amp"))[1]:
            ours["amp"] = _AMP
        if part == "train":
            self._trainer = engine
            ours |= {"loss_function": "@loss", "optimizer": "@optimizer", "max_epochs": "@max_epochs"}
        self._set(f"{part}::{name}", ours)
        self._set(f"{part}::handlers", [])
        self._take(f"{part}::inferer", engine.get("inferer"), default={"_target_": "SimpleInferer"})
        if self._follow(engine.get("postprocessing"))[1] is not None:
            self._take(f"{part}::postprocessing", engine["postprocessing"])
        self._data(part, engine.get(loader_key))
        self._metrics(f"{part}::key_metric", engine.get(key_metric))
        self._metrics(f"{part}::additional_metrics", engine.get("additional_metrics"))

    def network(self) -> None:
        """The network, the loss, the optimiser and what steers it."""
        network = self._trainer.get("network")
        source = "network_def" if "network_def" in self._source else network
        self._take("network_def", f"@{source}" if source == "network_def" else source)
        original = self.mapped.found.get("network_def", "")
        self._set("network", "$@network_def.to(@device)")
        self._alias(original, "network", besides=("network_def", "network"))
        for name, key in (("loss", "loss_function"), ("optimizer", "optimizer")):
            self._take(name, self._trainer.get(key) or f"@{name}")
            self._alias(self.mapped.found.get(name, ""), name, besides=(name,))

    def rest(self) -> None:
        """Device, epochs, step size and schedule."""
        self._set("device", _DEVICE)
        self._set("bundle_root", ".")
        epochs = self._trainer.get("max_epochs", 1)
        self._set("max_epochs", self._follow(epochs)[1])
        if isinstance(epochs, str) and epochs.startswith("@"):
            self._alias(epochs[1:], "max_epochs", besides=("max_epochs",))
        optimizer = self.mapped.config.get("optimizer")
        if isinstance(optimizer, dict) and "lr" in optimizer and optimizer["lr"] != "@learning_rate":
            self._set("learning_rate", optimizer["lr"])
            optimizer["lr"] = "@learning_rate"
        scheduler = self._scheduler()
        if scheduler is not None:
            self._take("lr_scheduler", scheduler)

    def needed(self) -> None:
        """Everything that what is mapped refers to, and the imports that its expressions use."""
        from monai.bundle import ReferenceResolver

        waiting = True
        while waiting:
            texts = [text for _, text in strings(self.mapped.config)]
            wanted = {name for text in texts for name in ReferenceResolver.match_refs_pattern(text)}
            waiting = [name for name in sorted(wanted) if self._get(self.mapped.config, name) is _NOTHING]
            for name in waiting:
                if not self._copy(name):
                    plain = name.replace("::", "#")
                    self.mapped.missing.extend([] if plain in self.mapped.missing else [f"@{plain}"])
                    self._set(name, None)
        self._set("imports", self._imports([text for _, text in strings(self.mapped.config)]))

    def _data(self, part: str, given: Any) -> None:
        """The data loader, its data set without cases (the site has its own), and the transforms."""
        found, loader = self._find(f"{part}::dataloader", None, given)
        loader = loader if isinstance(loader, dict) else {}
        ours: Config = {"_target_": "DataLoader", "dataset": f"@{part}::dataset", "num_workers": 0}
        ours |= {key: deepcopy(loader[key]) for key in _LOADER_KEYS if key in loader}
        ours["batch_size"] = loader.get("batch_size", 1)
        if part == "train" and ours["batch_size"] != "@batch_size":
            self._set("batch_size", ours["batch_size"])
            ours["batch_size"] = "@batch_size"
        self._set(f"{part}::dataloader", ours)
        found, dataset = self._find(f"{part}::dataset", None, loader.get("dataset"))
        dataset = dataset if isinstance(dataset, dict) else {}
        self.mapped.found[f"{part}#dataset"] = found or "-"
        kind = str(dataset.get("_target_", "")).rpartition(".")[2]
        if kind not in ("Dataset", "CacheDataset"):
            self.mapped.notes.append(f"{part}: {kind or 'no data set'} is replaced by CacheDataset")
        held = {} if kind == "Dataset" else {"cache_num": dataset.get("cache_num", _CACHE), "progress": False}
        self._set(
            f"{part}::dataset",
            {
                "_target_": "Dataset" if kind == "Dataset" else "CacheDataset",
                "data": [],
                "transform": f"@{part}::preprocessing",
                **held,
            },
        )
        self._take(f"{part}::preprocessing", dataset.get("transform"))

    def _metrics(self, identifier: str, given: Any) -> None:
        """The handlers that would measure the bundle's own metrics; a bundle may have none."""
        found, handlers = self._find(identifier, None, given)
        plain = identifier.replace("::", "#")
        if isinstance(handlers, dict) and handlers:
            self.mapped.found[plain] = found or f"in {identifier.partition('::')[0]}"
            each = {(found or identifier).rpartition("::")[2]: handlers} if "_target_" in handlers else handlers
            targets = {name: _target(self._follow(handler)[1]) for name, handler in each.items()}
            self.mapped.metrics[plain] = [f"{name}: {target}" for name, target in targets.items()]
        elif identifier in self._mapping:
            self.mapped.missing.append(plain)

    def _scheduler(self) -> Any:
        if "lr_scheduler" in self._source or "lr_scheduler" in self._mapping:
            return "@lr_scheduler"
        handlers = self._follow(self._trainer.get("train_handlers"))[1]
        steps = [step for step in handlers if isinstance(step, dict)] if isinstance(handlers, list) else []
        return next((step.get("lr_scheduler") for step in steps if step.get("_target_") == "LrScheduleHandler"), None)

    def _validator(self) -> Any:
        """What a validation handler of the trainer runs."""
        handlers = self._follow(self._trainer.get("train_handlers"))[1]
        steps = [step for step in handlers if isinstance(step, dict)] if isinstance(handlers, list) else []
        return next((step.get("validator") for step in steps if step.get("_target_") == "ValidationHandler"), None)

    def _find(self, identifier: str, bare: str | None, given: Any) -> tuple[str, Any]:
        """Where something is and what it is: by the mapping, by its id, by what refers to it, by its bare name."""
        if identifier in self._mapping:
            return self._follow(f"@{self._mapping[identifier]}")
        if self._get(self._source, identifier) is not _NOTHING:
            return self._follow(f"@{identifier}")
        if given is not None:
            return self._follow(given)
        return self._follow(f"@{bare}") if bare and bare in self._source else ("", None)

    def _take(self, identifier: str, given: Any, default: Any = None) -> None:
        found, value = self._find(identifier, None, given)
        if value is None:
            value, found = default, found or "-"
        if value is None:
            self.mapped.missing.append(identifier.replace("::", "#"))
            return
        self.mapped.found[identifier.replace("::", "#")] = found or f"in {identifier.partition('::')[0]}"
        self._set(identifier, deepcopy(value))

    def _follow(self, value: Any) -> tuple[str, Any]:
        """The end of a chain of references: its id, and what stands there."""
        found = ""
        for _ in range(10):
            if not (isinstance(value, str) and value.startswith("@")):
                return found, value
            found = value[1:].replace("#", "::")
            value = self._get(self._source, found)
            if value is _NOTHING:
                return found, None
        return found, None

    def _alias(self, original: str, ours: str, besides: tuple[str, ...]) -> None:
        """Let the bundle's own name for a part mean ours, so that there is one of it."""
        if original and original not in besides and self._get(self._source, original) is not _NOTHING:
            self._set(original, f"@{ours}")

    def _copy(self, name: str) -> bool:
        """Bring what an id names (or the list around it) from the bundle into what is mapped."""
        keys = name.split("::")
        for length in range(1, len(keys) + 1):
            value = self._get(self._source, "::".join(keys[:length]))
            if value is _NOTHING:
                return False
            if length == len(keys) or not isinstance(value, dict) or "_target_" in value:
                self._set("::".join(keys[:length]), deepcopy(value))
                return self._get(self.mapped.config, name) is not _NOTHING
        return False

    def _imports(self, texts: list[str]) -> list[str]:
        statements: dict[str, str] = {}
        for _, text in strings(self._source):
            try:
                bound = imported(text[1:]) if text.startswith("$") else None
            except ValueError:
                continue
            if bound:
                statements[text] = bound[0]
        expressions = [text for text in texts if text.startswith("$")]
        used = {word for text in expressions for word in _words(text)}
        return sorted(text for text, bound in statements.items() if bound.split(".")[0] in used)

    @staticmethod
    def _get(config: Any, identifier: str) -> Any:
        for key in identifier.split("::"):
            if isinstance(config, dict) and key in config:
                config = config[key]
            elif isinstance(config, list) and key.isdigit() and int(key) < len(config):
                config = config[int(key)]
            else:
                return _NOTHING
        return config

    def _set(self, identifier: str, value: Any) -> None:
        *above, last = identifier.split("::")
        config = self.mapped.config
        for key in above:
            config = config.setdefault(key, {})
        config[last] = value


def _target(component: Any) -> str:
    return str(component.get("_target_", "-")) if isinstance(component, dict) else "-"


def _words(text: str) -> set[str]:
    """The names that an expression uses; every word of one that is no Python."""
    try:
        nodes = ast.walk(ast.parse(text.strip("$ ").replace("@", "").replace("::", "__")))
    except (SyntaxError, ValueError):
        return set(re.findall(r"[A-Za-z_]\w*", text))
    return {node.id for node in nodes if isinstance(node, ast.Name)}


_NOTHING = object()
