# SPDX-License-Identifier: Apache-2.0
"""What a site or server lets others do, read as FLARE reads it: the part of the preflight about policy."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.x509.oid import NameOID
from nvflare.fuel.sec.authz import AuthzContext
from nvflare.fuel.sec.authz import Person as Asker
from nvflare.security.security import FLAuthorizer

from fedxai.bundle import Bundle
from fedxai.bundle.approval import ApprovedBundles
from fedxai.errors import SettingsError
from fedxai.flare.kit import Kit
from fedxai.flare.provision import ALLOWED_CLASSES, AUTHORIZATION, GATE, NOBODY, OUR_CLASSES, WATCHMAN
from fedxai.intake.check import check_cohorts
from fedxai.preflight import Finding
from fedxai.privacy.release import FEWEST_PATIENTS
from fedxai.settings import SiteSettings

_GATE_REMEDY = "put the filters that `fedxai deploy init` writes back into local/privacy.json"

Check = Callable[[], Finding]


def site_policy(kit: Kit) -> list[tuple[str, Check]]:
    """The checks of ``local/`` that make sense for this kit."""
    if kit.kind == "person":
        return []
    checks: list[tuple[str, Check]] = [
        ("authorization", lambda: authorization(kit)),
        ("allowed classes", lambda: allowed_classes(kit)),
        ("signed jobs", lambda: signed_jobs(kit)),
    ]
    if kit.kind == "server":
        return [*checks, ("job store", lambda: job_store(kit)), ("bundles", lambda: bundles(kit))]
    return [
        *checks,
        ("gate", lambda: gate(kit)),
        ("policy", lambda: release_policy(_settings(kit))),
        ("log streaming", lambda: log_streaming(kit)),
        ("device", lambda: device(_settings(kit))),
        ("cohort", lambda: cohort(_settings(kit))),
        ("bundles", lambda: bundles(kit)),
    ]


def authorization(kit: Kit) -> Finding:
    """FLARE's own authoriser, with the kit's file, lets nobody bring code or read files from the console."""
    org = str(kit.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)
    policy = kit.local("authorization.json")
    try:
        authorizer = FLAuthorizer(org, policy)
    except (SyntaxError, AssertionError) as error:
        raise SettingsError(f"authorization.json is not one that FLARE reads: {error}") from error
    granted = []
    for role in {*AUTHORIZATION["permissions"], *policy.get("permissions", {})}:
        asker = Asker("somebody", org, role)
        for right in NOBODY:
            allowed, _ = authorizer.authorize(AuthzContext(right=right, user=asker, submitter=asker))
            granted += [f"{role} has {right}"] if allowed else []
    remedy = "set these rights to none in local/authorization.json" if granted else ""
    return Finding("authorization", ", ".join(sorted(granted)) or "nobody brings code or reads files", remedy)


def allowed_classes(kit: Kit) -> Finding:
    """A job may build FLARE's default classes and ours, no others, and the list is enforced."""
    resources = kit.resources
    allowed = resources.get("class_allow_list") or []
    more = sorted(set(allowed) - set(ALLOWED_CLASSES))
    if resources.get("class_list_enforcement_mode", "enforce") != "enforce":
        return Finding("allowed classes", "not enforced", 'set "class_list_enforcement_mode": "enforce"')
    if OUR_CLASSES not in allowed:
        return Finding("allowed classes", f"{OUR_CLASSES!r} is missing", f'add "{OUR_CLASSES}" to class_allow_list')
    remedy = "remove from class_allow_list what no job of yours needs" if more else ""
    return Finding("allowed classes", f"also {', '.join(more)}" if more else "FLARE's and ours", remedy)


def signed_jobs(kit: Kit) -> Finding:
    """A job that no person of the federation signed is refused."""
    required = kit.startup.get("require_signed_jobs", True) is True
    remedy = "" if required else "set require_signed_jobs to true in startup/fed_*.json"
    return Finding("signed jobs", "required" if required else "not required", remedy)


def job_store(kit: Kit) -> Finding:
    """The server's jobs do not lie in a folder that others of the machine can write to."""
    components = kit.resources.get("components", [])
    [root] = [part["args"]["uri_root"] for part in components if part.get("id") == "job_manager"] or [""]
    shared = Path(root).is_relative_to(tempfile.gettempdir()) and not Path(root).is_relative_to(kit.folder)
    remedy = "set uri_root of job_manager in local/resources.json to a folder of the server's own" if shared else ""
    return Finding("job store", "below the machine's shared temporary folder" if shared else "its own", remedy)


def gate(kit: Kit) -> Finding:
    """Every scope has the gate in both directions, one is the default, and the other channels are closed."""
    policy = kit.local("privacy.json")
    scopes: list[dict[str, Any]] = policy.get("scopes", [])
    if not scopes or policy.get("default_scope") not in [scope.get("name") for scope in scopes]:
        return Finding("gate", "no default scope", _GATE_REMEDY)
    lacking = sorted({f"{scope['name']}/{kind}" for scope in scopes for kind in GATE if _lacks(scope, kind)})
    if WATCHMAN not in [part.get("path") for part in policy.get("components", [])]:
        lacking.append("other channels")
    if lacking:
        return Finding("gate", f"open: {', '.join(lacking)}", _GATE_REMEDY)
    return Finding("gate", "closed on every channel")


def release_policy(settings: SiteSettings) -> Finding:
    """What the site lets out is no single case's."""
    tasks = ", ".join(settings.policy.tasks) or "no task"
    found = f"{tasks}; figures over {settings.minimum_cell} cases or more"
    alone = settings.minimum_cell < FEWEST_PATIENTS
    remedy = 'set "minimum_cell" in local/fedxai.json to 5: figures of single cases leave, and P is below 1'
    return Finding("policy", found, remedy if alone else "")


def log_streaming(kit: Kit) -> Finding:
    """The site's logs stay at the site."""
    streams = kit.resources.get("allow_log_streaming", True) is not False
    remedy = 'set "allow_log_streaming": false in local/resources.json' if streams else ""
    return Finding("log streaming", "on" if streams else "off", remedy)


def device(settings: SiteSettings) -> Finding:
    """The device that the site names is there."""
    import torch

    gpus = torch.cuda.device_count()
    if settings.device == "auto":
        return Finding("device", torch.cuda.get_device_name(0) if gpus else "auto: no GPU, the CPU is used")
    try:
        wanted = torch.device(settings.device)
    except RuntimeError:
        return Finding("device", f"{settings.device!r} is no device", "use auto, cpu, cuda or cuda:1")
    missing = wanted.type == "cuda" and (wanted.index or 0) >= gpus
    remedy = 'set "device" in local/fedxai.json to auto or cpu, or bring the GPU in' if missing else ""
    return Finding("device", f"{settings.device}: {gpus} GPUs here" if missing else settings.device, remedy)


def cohort(settings: SiteSettings) -> Finding:
    """The site has a cohort, and it passes `fedxai cohort check`."""
    if settings.cohort is None:
        return Finding("cohort", "none, so the site refuses every job", 'name "cohort" in local/fedxai.json')
    checked = check_cohorts(settings.cohort)
    errors = [finding for finding in checked.findings if finding.level == "error"]
    remedy = "fedxai cohort check says for each what to do" if errors else ""
    return Finding("cohort", f"{checked.images} images, {len(errors)} errors", remedy)


def bundles(kit: Kit) -> Finding:
    """Bundles are approved, and each lies here as it was approved."""
    listed = ApprovedBundles.read(kit.folder / "local" / _settings(kit).approved_bundles)
    if not listed.bundles:
        return Finding("bundles", "none is approved, so none may run", "fedxai bundle approve DIR --site KIT/local")
    changed = [entry.name for entry in listed.bundles if not listed.holds(Bundle.open(entry.name).inspection)]
    remedy = "read them with `fedxai bundle check`, then approve them anew" if changed else ""
    names = ", ".join(entry.name for entry in listed.bundles)
    return Finding("bundles", f"changed since approved: {', '.join(changed)}" if changed else names, remedy)


def _settings(kit: Kit) -> SiteSettings:
    return SiteSettings.read(kit.folder / "local")


def _lacks(scope: dict[str, Any], kind: str) -> bool:
    return GATE[kind] not in [part.get("path") for part in scope.get(kind, [])]
