# SPDX-License-Identifier: Apache-2.0
# FLARE's attributes are typed as None until the job starts.
# pyright: reportOptionalMemberAccess=false
"""Where server and sites keep what must outlive a job: the ledger, and the states of studies."""

from pathlib import Path

from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import JobMetaKey
from nvflare.private.fed.simulator.simulator_const import SimulatorConstants
from pydantic import TypeAdapter, ValidationError

from fedxai.errors import SettingsError
from fedxai.records import Name

FOLDER = "fedxai"
LEDGER = "ledger.jsonl"
PROGRESS = "progress.txt"  # rounds done, rounds, and the last one's line, for who started the job
MODEL = "model"  # at a site: the newest job's final model, as a bundle


def run_folder(fl_ctx: FLContext) -> Path:
    """Our folder among what FLARE keeps of this job, and removes with it."""
    workspace = fl_ctx.get_engine().get_workspace()
    return Path(workspace.get_run_dir(fl_ctx.get_job_id())) / FOLDER


def home(fl_ctx: FLContext) -> Path:
    """Our folder in a provisioned server's or site's workspace; in the simulator, where a workspace is a run, of it."""
    if fl_ctx.get_job_id() == SimulatorConstants.JOB_NAME:  # a real job's id is a UUID; the server is not told its mode
        return run_folder(fl_ctx)
    return Path(fl_ctx.get_engine().get_workspace().get_root_dir()) / FOLDER


def study_folder(fl_ctx: FLContext, study: str | None) -> Path:
    """Where this side keeps what the study needs to go on; a study without a name has its job's.

    Raises:
        SettingsError: when the name could be more than a folder's.
    """
    meta = fl_ctx.get_prop(FLContextKey.JOB_META) or {}
    name = study or str(meta.get(JobMetaKey.JOB_NAME) or FOLDER)
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise SettingsError(f"study must be a name of letters, digits, _, - and ., got {name!r}") from error
    return home(fl_ctx) / "studies" / name
