# SPDX-License-Identifier: Apache-2.0
"""A site's list of approved bundles: what may run there, by digest; nothing else does."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from fedxai.bundle.inspection import Inspection
from fedxai.bundle.open import SHIPPED, Bundle
from fedxai.errors import BundleError
from fedxai.settings import SiteSettings, checked
from fedxai.whole_file import write_whole

LIST_FILE = "approved_bundles.json"


class Approval(BaseModel):
    """One bundle that may run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="The bundle's name.")
    version: str = Field(description="The version that its metadata gives.")
    digest: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 over everything that runs.")
    weights: dict[str, str] = Field({}, description="SHA-256 of each file of weights that came with it.")


class ApprovedBundles(BaseModel):
    """The list as it stands in a site's ``local/approved_bundles.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundles: tuple[Approval, ...] = Field((), description="The bundles that may run.")

    @classmethod
    def read(cls, file: Path) -> "ApprovedBundles":
        """The list in a file; an empty one where there is no file.

        Raises:
            SettingsError: when an entry breaks a rule.
            BundleError: when the file is not readable JSON.
        """
        if not file.is_file():
            return cls(bundles=())
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise BundleError(f"{file.name}, the list of approved bundles, is not readable JSON") from error
        if not isinstance(values, dict):
            raise BundleError(f"{file.name}, the list of approved bundles, must hold a mapping")
        return checked(cls, values, what=file.name)

    def holds(self, inspection: Inspection) -> bool:
        """Whether exactly these files were approved; weights that came later are no part of what was read."""
        return any(
            entry.digest == inspection.digest
            and all(entry.weights.get(file) == value for file, value in inspection.weights.items())
            for entry in self.bundles
        )


def approve(inspection: Inspection, file: Path) -> Approval:
    """Put a bundle that was read and not refused on the list; an earlier entry of its name goes.

    Raises:
        BundleError: when the check refuses the bundle, or the list cannot be read.
    """
    if inspection.refusal:
        raise BundleError(inspection.refusal)
    approval = Approval(
        name=inspection.name,
        version=str(inspection.metadata.get("version", "0")),
        digest=inspection.digest,
        weights=inspection.weights,
    )
    kept = [entry for entry in ApprovedBundles.read(file).bundles if entry.name != approval.name]
    listed = ApprovedBundles(bundles=tuple(sorted([*kept, approval], key=lambda entry: entry.name)))
    write_whole(file, (listed.model_dump_json(indent=4) + "\n").encode())
    return approval


def list_for(inspection: Inspection, site: Path | None) -> Path:
    """Where approvals of a bundle stand: on the list of the site with that ``local/``, or beside the bundle."""
    return site / SiteSettings.read(site).approved_bundles if site else inspection.folder.parent / LIST_FILE


def simulator_takes(inspection: Inspection) -> bool:
    """Whether a simulated site without a list runs a bundle: one of this checkout, or on the list beside it."""
    if inspection.folder.parent == SHIPPED:
        return True
    return ApprovedBundles.read(list_for(inspection, None)).holds(inspection)


def admit(bundle: Bundle, listed: Path, *, simulated: bool) -> None:
    """Let a bundle run at a site, or refuse it.

    A site's list decides. In the simulator, where a site keeps none, the bundles of this checkout may run, and those
    on a list beside them (``fedxai bundle approve DIR`` without ``--site``). A provisioned site without a list
    refuses every bundle.

    Args:
        bundle: the bundle that a job names.
        listed: the site's list, which need not exist.
        simulated: whether the site is one of the simulator's.

    Raises:
        BundleError: when the bundle may not run.
    """
    inspection = bundle.inspection
    if inspection.refusal:
        raise BundleError(inspection.refusal)
    if listed.is_file():
        if ApprovedBundles.read(listed).holds(inspection):
            return
    elif simulated and simulator_takes(inspection):
        return
    how = "fedxai bundle approve DIR" if simulated else "fedxai bundle approve DIR --site LOCAL"
    raise BundleError(
        f"bundle {bundle.name} with digest {bundle.digest[:12]} is not on this site's list of approved bundles; "
        f"read it with `fedxai bundle check`, then `{how}`"
    )
