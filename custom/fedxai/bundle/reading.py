# SPDX-License-Identifier: Apache-2.0
"""Configuration files as plain values: strictly read, nothing constructed, nothing left open."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedxai.errors import BundleError

SUFFIXES = (".json", ".yaml", ".yml")
_LARGEST = 8 * 1024 * 1024
_ALIASES = 64


def read_config(path: Path) -> dict[str, Any]:
    """The mapping in a JSON or YAML file of a bundle.

    Raises:
        BundleError: when the file is missing, too large, not readable, has a key twice, a YAML tag, or is no mapping.
    """
    bundle, name = path.parents[1].name, f"configs/{path.name}"
    try:
        if path.stat().st_size > _LARGEST:
            raise BundleError(f"bundle {bundle}: {name} is larger than {_LARGEST >> 20} MiB")
        text = path.read_text(encoding="utf-8")
        values = json.loads(text, object_pairs_hook=_once) if path.suffix.lower() == ".json" else _yaml(text)
    except FileNotFoundError as error:
        raise BundleError(f"bundle {bundle} lacks {name}") from error
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"bundle {bundle}: {name} is not readable {path.suffix[1:].upper()}") from error
    except ValueError as error:
        raise BundleError(f"bundle {bundle}: {name}: {error}") from error
    if not isinstance(values, dict):
        raise BundleError(f"bundle {bundle}: {name} must hold a mapping, got {type(values).__name__}")
    return values


def train_config(folder: Path) -> Path:
    """The training configuration in ``configs/``: ``train.json``, else ``train.yaml`` or ``train.yml``."""
    found = [folder / "configs" / f"train{suffix}" for suffix in SUFFIXES]
    return next((path for path in found if path.is_file()), found[0])


def strings(values: Any, identifier: str = "") -> Iterator[tuple[str, str]]:
    """Every string in a configuration with its id (``train::dataset::data``)."""
    if isinstance(values, str):
        yield identifier, values
    elif isinstance(values, (dict, list, tuple)):
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            yield from strings(value, f"{identifier}::{key}" if identifier else str(key))


def components(values: Any, identifier: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping with a ``_target_`` in a configuration, with its id."""
    if isinstance(values, dict) and "_target_" in values:
        yield identifier, values
    if isinstance(values, (dict, list, tuple)):
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            yield from components(value, f"{identifier}::{key}" if identifier else str(key))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A key that stands twice would hide its first value from who reads the file."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [key for key, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return values


def _yaml(text: str) -> Any:
    """Plain YAML: no tags, few aliases, no key twice."""
    import yaml

    try:
        events = list(yaml.parse(text, yaml.SafeLoader))
        tag = next((event.tag for event in events if getattr(event, "tag", None)), None)
        if tag:
            raise ValueError(f"YAML tag {str(tag)[:60]!r} is refused; a configuration holds plain values")
        if sum(isinstance(event, yaml.AliasEvent) for event in events) > _ALIASES:
            raise ValueError(f"more than {_ALIASES} YAML aliases")
        _twice(yaml.compose(text, yaml.SafeLoader), ())
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise json.JSONDecodeError("not readable YAML", "", 0) from error


def _twice(node: Any, above: tuple[int, ...]) -> None:
    if id(node) in above:
        raise ValueError("a YAML alias holds itself")
    if not isinstance(getattr(node, "value", None), list):
        return
    keys = [key.value for key, _ in node.value] if node.id == "mapping" else []
    _once([(str(key), None) for key in keys])
    for item in node.value:
        for child in item if isinstance(item, tuple) else (item,):
            _twice(child, (*above, id(node)))
