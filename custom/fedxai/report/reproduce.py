# SPDX-License-Identifier: Apache-2.0
"""The command that repeats a run or a comparison, with the settings that it had, not with what became of them."""

import shlex
from collections.abc import Mapping, Sequence

_OPTIONS = (
    "rounds",
    "local_epochs",
    "local_steps",
    "batch_size",
    "mixed_precision",
    "validate_every",
    "key_metric",
    "seed",
    "guidance",
)
Settings = Mapping[str, int | float | str | bool | None]


def run_command(job: str, bundle: str, settings: Settings) -> str:
    """One option a line; a run of no rounds is of a model that there was.

    Args:
        job: the job's name.
        bundle: the bundle's name.
        settings: of the run's summary; those that are no option of the command are left to the job's configuration.
    """
    model = [("model", "MODEL")] if settings.get("rounds") == 0 else []
    options = [("cohorts", "COHORTS"), ("bundle", bundle), *model, *_chosen(settings)]
    return _command(f"fedxai run jobs/{shlex.quote(job)}", options, "--out RUN")


def compare_command(bundle: str, seeds: int, settings: Settings) -> str:
    """One option a line.

    Args:
        bundle: the bundle's name.
        seeds: how many.
        settings: of the comparison.
    """
    options = [("cohorts", "COHORTS"), ("bundle", bundle), ("seeds", str(seeds)), *_chosen(settings)]
    return _command("fedxai compare", options, "--out DIR")


def _chosen(settings: Settings) -> list[tuple[str, str]]:
    options = []
    for name in _OPTIONS:
        value = settings.get(name)
        if value is True:
            options.append((name, ""))
        elif value is not None and value is not False and (name, value) != ("rounds", 0):
            values = str(value).split("+") if name == "guidance" else [str(value)]
            options += [(name, part) for part in values]
    return options


def _command(start: str, options: Sequence[tuple[str, str]], end: str) -> str:
    lines = [f"--{name.replace('_', '-')} {shlex.quote(value) if value else ''}".strip() for name, value in options]
    return " \\\n    ".join([start, *lines, end])
