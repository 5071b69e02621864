# SPDX-License-Identifier: Apache-2.0
"""How a site serves its studies: frozen settings, checked when made."""

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def default_state() -> Path:
    """Where the server keeps tokens, logs and temporary files, in the user's own state folder (XDG)."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "fedxai" / "label"


class ServerSettings(BaseModel):
    """What one server serves, to whom, and within which bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    studies: str = Field(min_length=1, description="Folder of studies, or the URL of a DICOMweb archive.")
    model: str = Field(min_length=1, description="Run folder, bundle folder or name of a bundle.")
    app: Path | None = Field(None, description="Folder of another MONAI Label app, instead of this package's.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    state: Path = Field(default_factory=default_state, description="Folder of tokens, logs and temporary files.")
    auth: Literal["token", "none"] = Field("token", description="token: every request needs one; none: loopback only.")
    conf: dict[str, str] = Field({}, description="Further settings that the app reads from MONAI Label's --conf.")

    @property
    def archive(self) -> bool:
        """Whether the studies are a DICOMweb archive's."""
        return self.studies.startswith(("http://", "https://"))
