# SPDX-License-Identifier: Apache-2.0
"""What `fedxai bundle` prints: parts found and missing, and everything that would run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedxai.bundle.approval import ApprovedBundles, list_for, simulator_takes
from fedxai.bundle.findings import Finding
from fedxai.bundle.inspection import Inspection
from fedxai.errors import FedxaiError
from fedxai.report.measures import CLASSIFICATION

_METRICS = ("train#key_metric", "train#additional_metrics", "validate#key_metric", "validate#additional_metrics")
_PARTS = (
    "network_def", "loss", "optimizer", "lr_scheduler", "train#trainer", "train#dataset", "train#preprocessing",
    "train#inferer", "validate#evaluator", "validate#dataset", "validate#preprocessing", "validate#inferer",
    *_METRICS,
)  # fmt: skip
_OPTIONAL = ("lr_scheduler", *_METRICS)
_MEASURED = {
    "classification": CLASSIFICATION.listed,
    "segmentation": ("mean_dice", "mean_hd95", "both class by class", "loss"),
}


def show_inspection(inspection: Inspection, *, everything: bool) -> None:
    """Print the two tables of `fedxai bundle check` and the verdict."""
    console = Console()
    console.print(_parts(inspection))
    for note in inspection.mapped.notes:
        console.print(f"Note: {note}.", markup=False)
    shown = [found for found in inspection.findings if everything or found.runs or found.problem or found.reaches]
    console.print(_findings(shown))
    refused = sum(bool(found.problem) for found in inspection.findings)
    hidden = len(inspection.findings) - len(shown)
    console.print(
        f"{sum(found.runs for found in inspection.findings)} run at a site, "
        f"{sum(bool(found.reaches) for found in inspection.findings)} reach further but do not run here, "
        f"{refused} refused" + (f" ({hidden} harmless ones not shown: --all)." if hidden else ".")
    )


def show_bundles(folders: Sequence[Path], site: Path | None) -> None:
    """Print the table of `fedxai bundle list`."""
    table = Table(title="Bundles")
    for column in ("name", "version", "digest", "may run"):
        table.add_column(column)
    for folder in folders:
        try:
            inspection = Inspection(folder)
            version, digest = str(inspection.metadata.get("version", "0")), inspection.digest[:12]
            allowed = inspection.refusal is None and _listed(inspection, site)
            table.add_row(folder.name, version, digest, "yes" if allowed else "no")
        except FedxaiError as error:
            table.add_row(folder.name, "-", "-", escape(f"no: {error}"))
    Console().print(table)


def _listed(inspection: Inspection, site: Path | None) -> bool:
    if site is None:
        return simulator_takes(inspection)
    return ApprovedBundles.read(list_for(inspection, site)).holds(inspection)


def _parts(inspection: Inspection) -> Table:
    version = str(inspection.metadata.get("version", "0"))
    table = Table(title=escape(f"{inspection.name} {version}, digest {inspection.digest[:12]}"), title_justify="left")
    for column in ("part", "found at", "what"):
        table.add_column(column)
    for part in _PARTS:
        found = inspection.mapped.found.get(part)
        optional = part in _OPTIONAL and part not in inspection.missing  # a mapping that leads nowhere is missing
        missing = "-" if optional else "[bold red]missing[/]"
        table.add_row(part, escape(found.replace("::", "#")) if found else missing, escape(_what(inspection, part)))
    table.add_row("measured here", "in every bundle", escape(", ".join(_MEASURED[inspection.task])))
    table.add_row("weights", str(len(inspection.weights)), escape(", ".join(inspection.weights) or "none"))
    configs = ", ".join(sorted(file.name for file in (inspection.folder / "configs").iterdir()))
    table.add_row("configs", inspection.train_file, escape(configs))
    for lacking in inspection.missing:
        if lacking not in _PARTS:
            table.add_row(escape(lacking), "[bold red]missing[/]", "")
    return table


def _what(inspection: Inspection, part: str) -> str:
    if part in inspection.mapped.metrics:
        return ", ".join(inspection.mapped.metrics[part])
    value: Any = inspection.mapped.config
    for key in part.split("#"):
        value = value.get(key) if isinstance(value, dict) else None
    return str(value.get("_target_", "")) if isinstance(value, dict) else str(value or "")


def _findings(findings: Sequence[Finding]) -> Table:
    table = Table(title="Imports, targets and expressions", title_justify="left")
    for column in ("verdict", "kind", "where", "what"):
        table.add_column(column, overflow="fold")
    order = sorted(findings, key=lambda found: (not found.problem, not found.runs))
    for found in order:
        verdict = "[bold red]refused[/]" if found.problem else "runs" if found.runs else "not run here"
        what = f"{found.what}\n{found.problem}" if found.problem and found.problem != found.what else found.what
        what += f"\nreaches {found.reaches}" if found.reaches else ""
        table.add_row(verdict, found.kind, escape(found.where), escape(what))
    return table
