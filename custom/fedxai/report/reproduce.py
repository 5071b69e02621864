# SPDX-License-Identifier: Apache-2.0
"""The command that repeats a run: `fedxai run` with the settings that the run had, not with what became of them."""

import shlex
from collections.abc import Mapping

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


def run_command(job: str, bundle: str, settings: Mapping[str, int | float | str | bool | None]) -> str:
    """One option a line; a run of no rounds is of a model that there was.

    Args:
        job: the job's name.
        bundle: the bundle's name.
        settings: of the run's summary; those that are no option of the command are left to the job's configuration.
    """
    options = [("cohorts", "COHORTS"), ("bundle", bundle)]
    if settings.get("rounds") == 0:
        options.append(("model", "MODEL"))
    for name in _OPTIONS:
        value = settings.get(name)
        if value is True:
            options.append((name, ""))
        elif value is not None and value is not False and (name, value) != ("rounds", 0):
            values = str(value).split("+") if name == "guidance" else [str(value)]
            options += [(name, part) for part in values]
    lines = [f"--{name.replace('_', '-')} {shlex.quote(value) if value else ''}".strip() for name, value in options]
    return " \\\n    ".join([f"fedxai run jobs/{shlex.quote(job)}", *lines, "--out RUN"])
