# SPDX-License-Identifier: Apache-2.0
"""What a job's configuration asks of the server and of its sites, in plain values."""

import json
from pathlib import Path
from typing import Any

from fedxai.settings import ExplainSettings, TrainSettings, checked

CONFIG = Path("app") / "config"
_OF_THE_SERVER = ("seed", "key_metric", "explain_every", "e_floor")
_OF_NO_FIGURE = {"seed", "threads", "guidance", "cache_cases"}  # the server has the seed too; terms are joined


def read_config(folder: Path, side: str) -> dict[str, Any]:
    """The configuration of ``server`` or ``client`` in a folder, with the values that FLARE would put in; {}: no JSON.

    FLARE replaces ``"{seed}"`` by the value of ``seed`` at the top of the same file.
    """
    path = folder / f"config_fed_{side}.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {name: _filled(value, config) for name, value in config.items()}


def train_settings(client: dict[str, Any]) -> TrainSettings:
    """How the sites of that client configuration train.

    Raises:
        SettingsError: when a value breaks its rule or a name is unknown.
    """
    return checked(TrainSettings, _of_the_site(client, "train"), what="train")


def explain_settings(client: dict[str, Any]) -> ExplainSettings:
    """How the sites of that client configuration explain.

    Raises:
        SettingsError: when a value breaks its rule or a name is unknown.
    """
    return checked(ExplainSettings, _of_the_site(client, "explain"), what="explain")


def shown_settings(folder: Path) -> dict[str, int | float | str | bool | None]:
    """What decides the figures of a run besides bundle and cohorts, as its report shows it."""
    server, client = (read_config(folder, side) for side in ("server", "client"))
    rounds = server.get("num_rounds")
    shown = {"rounds": rounds, **{name: server.get(name) for name in _OF_THE_SERVER}}
    if not rounds or not client:
        return shown
    train = train_settings(client)
    shown |= {**train.model_dump(exclude=_OF_NO_FIGURE), "guidance": "+".join(train.guidance.terms) or None}
    return shown | (train.guidance.model_dump(exclude={"terms"}) if train.guidance.terms else {})


def _of_the_site(client: dict[str, Any], what: str) -> dict[str, Any]:
    asked = [part["args"].get(what) or {} for part in client["components"] if part["id"] == "site"]
    return {name: value for part in asked for name, value in part.items()}


def _filled(value: Any, config: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(part, config) for name, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, config) for part in value]
    if isinstance(value, str) and value[:1] == "{" and value[1:-1] in config:
        return config[value[1:-1]]
    return value
