# SPDX-License-Identifier: Apache-2.0
"""Frozen settings, checked when made: what a job asks of its sites, and what a site says of itself."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fedxai.errors import SettingsError

COHORTS_VARIABLE = "FEDXAI_COHORTS"
BUNDLES_VARIABLE = "FEDXAI_BUNDLES"
SITE_FILE = "fedxai.json"

Whole = Annotated[int, Field(strict=True, ge=0)]  # strict: true is no 1
Positive = Annotated[int, Field(strict=True, ge=1)]
Above0 = Annotated[float, Field(strict=True, gt=0)]
Share = Annotated[float, Field(strict=True, ge=0, lt=1)]
S = TypeVar("S", bound=BaseModel)


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class GuidanceSettings(_Settings):
    """What training is rewarded for besides the right class; cases without a region keep the plain loss."""

    terms: tuple[Literal["relevance", "energy", "occlusion"], ...] = Field(
        (),
        description="relevance: the network's own relevance against the region; energy: -log E; occlusion: -log of the "
        "occlusion mass; none: plain.",
    )
    relevance_weight: Above0 = Field(1.0, description="Weight of the relevance term.")
    energy_weight: Above0 = Field(1.6, description="Weight of the energy term when full.")
    occlusion_weight: Above0 = Field(1.3, description="Weight of the occlusion term when full.")
    energy_from: Share = Field(
        0.35, description="Share of all epochs before the energy term begins; from the start it destroys accuracy."
    )
    occlusion_from: Share = Field(
        0.5, description="Share of all epochs before the occlusion term begins; it competes with the energy term."
    )
    late_every: Positive = Field(1, description="Energy and occlusion count in every so many-th step.")
    gradient_norm: Above0 = Field(1.0, description="A guided step's gradient is clipped here.")
    hold_relevance: bool = Field(
        False,
        description="The relevance, with all that it is computed from, learns from cases with a region alone (and from "
        "pseudo_regions beside them); sites without any train the rest. For federations in which some sites have none.",
    )
    pseudo_regions: bool = Field(
        False,
        description="In the energy and occlusion terms, a case without a region has the one that the network itself "
        "finds relevant.",
    )

    @property
    def late(self) -> frozenset[str]:
        """Those of the terms that come late in training."""
        return frozenset(self.terms) & {"energy", "occlusion"}

    @model_validator(mode="after")
    def _learned_from_regions(self) -> "GuidanceSettings":
        came = f"got terms {list(self.terms)}"
        if self.hold_relevance and "relevance" not in self.terms:
            raise ValueError(
                f"hold_relevance needs the relevance term, by which the relevance learns from regions, {came}"
            )
        if self.pseudo_regions and not ("relevance" in self.terms and self.late):
            raise ValueError(
                "pseudo_regions needs the relevance term, by which the network learns regions from cases that have "
                f"one, and a term that uses them, energy or occlusion, {came}"
            )
        return self


class TrainSettings(_Settings):
    """How a site trains in one round."""

    local_epochs: Positive = Field(1, description="Passes over the site's training cases in a round.")
    local_steps: Positive | None = Field(None, description="Optimisation steps in a round instead of epochs.")
    batch_size: Positive | None = Field(None, description="Cases a step, instead of the bundle's own.")
    learning_rate: Above0 | None = Field(None, description="Step size at the start, instead of the bundle's own.")
    keep_optimizer: bool = Field(True, description="Keep each site's optimiser state from round to round.")
    seed: Whole = Field(0, description="Seed of the initial weights, shuffling and augmentation.")
    threads: Positive | None = Field(None, description="Threads of PyTorch at a site; default: PyTorch's own.")
    guidance: GuidanceSettings = Field(
        GuidanceSettings(),  # pyright: ignore[reportCallIssue]
        description="Terms that reward looking at the region.",
    )
    mixed_precision: bool = Field(
        False, description="Compute the network of a training step in bfloat16; weights and evaluation stay float32."
    )
    validate_every: Positive = Field(
        1, description="Rounds from one validation of the global model to the next; the last model is always validated."
    )
    cache_cases: Whole = Field(2048, description="At most this many prepared cases of each split are held in memory.")

    @model_validator(mode="after")
    def _one_precision(self) -> "TrainSettings":
        if self.mixed_precision and self.guidance.late:
            raise ValueError(
                "mixed_precision must be off under the energy and occlusion terms: a gradient of a gradient and a "
                f"small difference of two answers need float32, got terms {list(self.guidance.terms)}"
            )
        return self


class ExplainSettings(_Settings):
    """How a site explains."""

    cases: Positive = Field(64, description="Cases explained between rounds (validation split).")
    final_cases: Positive = Field(10_000, description="Cases explained of the final models (test split).")
    trust_cases: Whole = Field(8, description="Cases of the trust tests of a final model; 0: no verdict.")
    honesty_cases: Whole = Field(8, description="Cases of the honesty battery of a final model; 0: none.")
    shortcut_cases: Whole = Field(
        250, description="Cases of each split among which a final model's shortcuts are searched; 0: no search."
    )
    batch_size: Positive = Field(16, description="Cases in one forward and input-backward pass.")
    gallery: Whole = Field(24, description="Cases in the site's own gallery page; 0: no gallery.")


class ReleasePolicy(_Settings):
    """What the hospital's gate lets out, whatever a job asks; a job can only ask for less."""

    tasks: tuple[Literal["survey", "statistics", "train", "validate", "explain"], ...] = Field(
        ("survey", "statistics", "train", "validate", "explain"),
        description="Tasks of the server that this site answers.",
    )
    update_norm: Above0 = Field(
        2.0, description="Largest L2 norm of an update, as a multiple of the norm of the global weights it began with."
    )
    figures: Positive = Field(20_000, description="Most numbers in one summary.")
    largest: Above0 = Field(1e6, description="Largest size of a figure.")
    answers: Positive = Field(10_000, description="Most messages with figures or weights in one job.")


class SiteSettings(_Settings):
    """What a hospital says of itself, in ``local/fedxai.json`` of its FLARE workspace (contract 3)."""

    cohort: Path | None = Field(None, description="The site's cohort folder.")
    device: str = Field("auto", description="cpu, cuda, cuda:1 ...; auto: a GPU where there is one.")
    minimum_cell: Positive = Field(5, description="A figure over fewer cases than this does not leave.")
    approved_bundles: Path = Field(
        Path("approved_bundles.json"),
        description="The site's list of bundles that may run, from `fedxai bundle approve`; without one, none may.",
    )
    policy: ReleasePolicy = Field(
        ReleasePolicy(),  # pyright: ignore[reportCallIssue]
        description="What may leave the site at all.",
    )
    metrics_port: Annotated[int, Field(strict=True, ge=1024, le=65535)] | None = Field(
        None, description="Server only: port on 127.0.0.1 where Prometheus may read a running job; none: closed."
    )

    @classmethod
    def read(cls, folder: Path) -> "SiteSettings":
        """The settings in ``folder/fedxai.json``, or the defaults where there is no such file.

        Raises:
            SettingsError: when the file is not JSON or breaks a rule.
        """
        path = folder / SITE_FILE
        if not path.is_file():
            return cls()  # pyright: ignore[reportCallIssue]
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise SettingsError(f"{SITE_FILE} of the site is not readable JSON: {type(error).__name__}") from error
        return checked(cls, values, what=SITE_FILE)


def checked(kind: type[S], values: dict[str, Any], *, what: str) -> S:
    """``kind(**values)``, or one sentence that names the setting, the rule and what came.

    Raises:
        SettingsError: when they are no object, a value breaks its rule or a name is unknown.
    """
    if not isinstance(values, dict):
        raise SettingsError(f"{what} must be a JSON object of settings, got {type(values).__name__}")
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "value_error":  # a rule across settings says what came and what to choose itself
            rule = first.get("ctx", {}).get("error")
            raise SettingsError(f"{what}: {name}{': ' if name else ''}{rule}") from error
        known = ", ".join(kind.model_fields)
        raise SettingsError(
            f"{what}: {name} {first['msg'].lower()}, got {first.get('input')!r}; known settings: {known}"
        ) from error


def cohorts_root(setting: str | None = None) -> Path | None:
    """The folder with one cohort per site: the environment's, else the job's setting, else None.

    A relative one is below the folder in which the command was typed, where it is there, else below the present one:
    FLARE's simulator has gone into its workspace by now, and only the shell's PWD tells where that was.

    Raises:
        SettingsError: when the named folder does not exist.
    """
    named = os.environ.get(COHORTS_VARIABLE) or setting
    if not named:
        return None
    root = Path(named).expanduser()
    if (typed := os.environ.get("PWD", "") / root).is_dir():
        root = typed
    root = root.resolve()
    if not root.is_dir():
        raise SettingsError(
            f"{COHORTS_VARIABLE} must name a folder with one cohort per site, got {root.name!r}, which is none; "
            "make one with `fedxai cohort split`"
        )
    return root
