# SPDX-License-Identifier: Apache-2.0
"""Startup kits by FLARE's own provisioner, with this project's policy in each participant's ``local/``."""

import contextlib
import io
from pathlib import Path
from typing import Any

from nvflare.app_common.default_component_policy import DEFAULT_CLASS_ALLOW_LIST
from nvflare.lighter.constants import CtxKey, ParticipantType
from nvflare.lighter.ctx import ProvisionContext
from nvflare.lighter.entity import Participant
from nvflare.lighter.prov_utils import prepare_builders, prepare_packager
from nvflare.lighter.provision import prepare_project
from nvflare.lighter.provisioner import Provisioner
from nvflare.lighter.spec import Builder, Project
from nvflare.lighter.utils import load_yaml

from fedxai.errors import SettingsError
from fedxai.flare.kit import RESOURCES, RESOURCES_DEFAULT, read_json, write_json
from fedxai.settings import SITE_FILE, SiteSettings

OUR_CLASSES = "fedxai."
SCOPE = "fedxai"
GATE = {  # FLARE's filters on what the server sends and on what the site answers -> the class that is our gate there
    "task_data_filters": "fedxai.flare.gate.IncomingGate",
    "task_result_filters": "fedxai.flare.gate.OutgoingGate",
}
WATCHMAN = "fedxai.flare.gate.Gate"  # closes the channels that no filter of FLARE sees
# Sends a job's errors from the site's own process, which has no gate, as soon as log streaming is switched on.
LOG_STREAMER = "nvflare.app_common.logging.site_log_streamer.SiteLogStreamer"
ALLOWED_CLASSES = [*DEFAULT_CLASS_ALLOW_LIST, OUR_CLASSES]
ROLES = ("project_admin", "org_admin", "lead", "member")
# Rights that nobody has: to bring code, and to list, read or search files of a site or the server from the console.
NOBODY = {"byoc": "none", "shell_commands": "none", "server-predeployed-flwr": "none"}
AUTHORIZATION: dict[str, Any] = {
    "format_version": "1.0",
    "permissions": {
        "project_admin": {
            "submit_job": "none",
            "clone_job": "none",
            "manage_job": "any",
            "download_job": "any",
            "view": "any",
            "operate": "any",
            **NOBODY,
        },
        "org_admin": {
            "submit_job": "none",
            "clone_job": "none",
            "manage_job": "o:submitter",
            "download_job": "none",
            "view": "any",
            "operate": "o:site",
            **NOBODY,
        },
        "lead": {
            "submit_job": "any",
            "clone_job": "n:submitter",
            "manage_job": "n:submitter",
            "download_job": "n:submitter",
            "view": "any",
            "operate": "o:site",
            **NOBODY,
        },
        "member": {"view": "any", "download_job": "any", **NOBODY},
    },
}


class SitePolicyBuilder(Builder):
    """Writes ``local/`` of server and sites: nobody brings code, our classes may be built, the gate is in place.

    A hospital edits these files as it likes; what they say goes before what any job asks.

    Args:
        heart_beat_timeout: seconds after which the server takes a silent site for lost.
    """

    def __init__(self, heart_beat_timeout: int = 60) -> None:
        self._heart_beat_timeout = heart_beat_timeout

    def build(self, project: Project, ctx: ProvisionContext) -> None:
        """Write the files; runs after FLARE's static files."""
        server = project.get_server()
        if server is not None:
            self._write_common(server, ctx)
        for client in project.get_clients():
            self._write_common(client, ctx)
            local = Path(ctx.get_local_dir(client))
            write_json(local / "privacy.json", privacy_policy())
            write_json(local / SITE_FILE, SiteSettings().model_dump(mode="json"))  # pyright: ignore[reportCallIssue]

    def _write_common(self, participant: Participant, ctx: ProvisionContext) -> None:
        local = Path(ctx.get_local_dir(participant))
        write_json(local / "authorization.json", AUTHORIZATION)
        resources = read_json(local / RESOURCES_DEFAULT)
        resources["class_allow_list"] = ALLOWED_CLASSES
        if participant.type == ParticipantType.CLIENT:
            resources["allow_log_streaming"] = False
            resources["components"] = [part for part in resources["components"] if part["path"] != LOG_STREAMER]
        for server in resources.get("servers", []):
            server["heart_beat_timeout"] = self._heart_beat_timeout
        for name in (RESOURCES_DEFAULT, RESOURCES):  # `nvflare deploy prepare` goes by the first and drops the second
            write_json(local / name, resources)


def privacy_policy() -> dict[str, Any]:
    """``privacy.json``: one scope, the default one, with the gate on what comes in and on what goes out."""
    filters = {kind: [{"path": path, "args": {}}] for kind, path in GATE.items()}
    return {
        "components": [{"id": "site_gate", "path": WATCHMAN, "args": {}}],
        "scopes": [{"name": SCOPE, "properties": {}, **filters}],
        "default_scope": SCOPE,
    }


def provision(project_file: Path, out: Path, *, port: int | None = None) -> Path:
    """Make startup kits.

    Args:
        project_file: FLARE's description of the project.
        out: the provisioner's workspace; it keeps the root key, so it stays with the project admin.
        port: replaces the server's port (and the admin port, the next one).

    Returns:
        The folder with one kit per participant.

    Raises:
        SettingsError: when the project file is missing or breaks FLARE's rules, or ``out`` holds something.
    """
    if not project_file.is_file():
        raise SettingsError(f"--project must name FLARE's project file, got {project_file.name!r}, which is none")
    if out.exists() and any(out.iterdir()):
        raise SettingsError(f"--out must be a new or empty folder, got {out.name!r}, which holds something")
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            kits = _provisioned(load_yaml(str(project_file)), out, port)
    except (ValueError, RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise SettingsError(f"{project_file.name} is refused by FLARE's provisioner: {error}") from error
    if kits is None:
        raise SettingsError(f"{project_file.name} is refused by FLARE's provisioner: {_last_line(said.getvalue())}")
    return kits


def _provisioned(values: dict[str, Any], out: Path, port: int | None) -> Path | None:
    for participant in values["participants"]:
        if participant.get("type") == "server" and port is not None:
            participant.update(fed_learn_port=port, admin_port=port + 1)
    project = prepare_project(values)
    out.mkdir(parents=True, exist_ok=True)
    out.chmod(0o700)  # the root key lies below
    provisioner = Provisioner(str(out.resolve()), prepare_builders(values), prepare_packager(values))
    ctx = provisioner.provision(project)
    return None if ctx.get(CtxKey.BUILD_ERROR) else Path(ctx[CtxKey.CURRENT_PROD_DIR])


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason was given"
