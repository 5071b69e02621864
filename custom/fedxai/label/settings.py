# SPDX-License-Identifier: Apache-2.0
"""How a site serves its studies: frozen settings, checked when made."""

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MEBIBYTE = 2**20
Closed = Literal["docs", "reload", "model"]
Positive = Annotated[int, Field(ge=1)]


def default_state() -> Path:
    """Where the server keeps tokens, logs and temporary files, in the user's own state folder (XDG)."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "fedxai" / "label"


class OpenIdSettings(BaseModel):
    """Which identity provider vouches for people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(description="The provider's issuer URL, exactly as its tokens name it.")
    audience: str = Field(min_length=1, description="What the provider calls this server (claim aud).")
    roles_claim: str = Field("realm_access.roles", description="Claim that lists a person's roles, with dots.")
    name_claim: str = Field("preferred_username", description="Claim that names the person.")

    @field_validator("issuer")
    @classmethod
    def _safe(cls, issuer: str) -> str:
        parts = urlsplit(issuer)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise ValueError("must be an https address (http only on loopback)")
        return issuer


class Bounds(BaseModel):
    """How much one server takes on at a time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: Positive = Field(1, description="Cases predicted or explained at a time.")
    waiting: int = Field(8, ge=0, description="Predictions that may wait; beyond them the answer is 503.")
    requests: Positive = Field(64, description="Requests of all kinds in flight.")
    uploads: Positive = Field(4, description="Uploads in flight.")
    upload: Positive = Field(512 * MEBIBYTE, description="Largest request body in bytes.")
    unpacked: Positive = Field(2048 * MEBIBYTE, description="Largest image in bytes once it is unpacked.")
    patience: float = Field(30.0, gt=0, description="Seconds to wait for the next piece of a request's body.")


class ServerSettings(BaseModel):
    """What one server serves, to whom, and within which bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    studies: str = Field(
        min_length=1, description="Folder of images or of DICOM series, or the URL of a DICOMweb archive."
    )
    model: str = Field(min_length=1, description="Run folder, bundle folder or name of a bundle.")
    app: Path | None = Field(None, description="Folder of another MONAI Label app, instead of this package's.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    state: Path = Field(default_factory=default_state, description="Folder of tokens, logs and temporary files.")
    auth: Literal["token", "none"] = Field("token", description="token: every request needs one; none: loopback only.")
    openid: OpenIdSettings | None = Field(None, description="Identity provider whose tokens are taken as well.")
    names: tuple[str, ...] = Field((), description="Host names by which people reach the server, besides loopback.")
    origins: tuple[str, ...] = Field((), description="Web pages (https://host) that may call the server.")
    open: tuple[Closed, ...] = Field((), description="What is closed otherwise, opened for admins.")
    certificate: Path | None = Field(None, description="TLS certificate; needed beyond loopback.")
    key: Path | None = Field(None, validate_default=True, description="Key of the TLS certificate.")
    bounds: Bounds = Field(Bounds(), description="How much the server takes on.")  # pyright: ignore[reportCallIssue]
    conf: dict[str, str] = Field({}, description="Further settings that the app reads from MONAI Label's --conf.")

    @property
    def archive(self) -> bool:
        """Whether the studies are a DICOMweb archive's."""
        return self.studies.startswith(("http://", "https://"))

    @property
    def loopback(self) -> bool:
        """Whether nobody beyond this machine can reach the server."""
        return self.host in LOOPBACK

    @field_validator("origins")
    @classmethod
    def _named(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not parts.netloc or "*" in origin or parts.path:
                raise ValueError("must name pages as https://host[:port]; * is not taken")
        return origins

    @field_validator("auth")
    @classmethod
    def _asked(cls, auth: str, info: ValidationInfo) -> str:
        if auth == "none" and info.data.get("host") not in LOOPBACK:
            raise ValueError("may be none only on loopback")
        return auth

    @field_validator("key")
    @classmethod
    def _encrypted(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if (info.data.get("certificate") is None) != (key is None):
            raise ValueError("and certificate go together")
        if key is None and info.data.get("host") not in LOOPBACK:
            raise ValueError("and certificate (TLS) are needed beyond loopback, or serve loopback to a reverse proxy")
        return key
