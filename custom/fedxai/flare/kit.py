# SPDX-License-Identifier: Apache-2.0
"""A startup kit: whose it is, who signed its certificate, and until when that holds."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from fedxai.errors import SettingsError

Kind = Literal["server", "site", "person"]
_CONFIGS: dict[Kind, str] = {"server": "fed_server.json", "site": "fed_client.json", "person": "fed_admin.json"}
_ORDER: list[Kind] = list(_CONFIGS)
RESOURCES = "resources.json"
RESOURCES_DEFAULT = "resources.json.default"  # what FLARE reads where the other is missing


@dataclass(frozen=True)
class Kit:
    """The folder that one participant gets from FLARE's provisioner."""

    folder: Path
    kind: Kind

    @classmethod
    def open(cls, folder: Path) -> "Kit":
        """The kit in that folder.

        Raises:
            SettingsError: when it is none.
        """
        for kind, name in _CONFIGS.items():
            if (folder / "startup" / name).is_file():
                return cls(folder.resolve(), kind)
        raise SettingsError(f"KIT must be a folder with startup/fed_*.json, got {folder.name!r}, which has none")

    @property
    def name(self) -> str:
        """The participant's name."""
        return self.folder.name

    @property
    def startup(self) -> dict[str, Any]:
        """What FLARE reads when the participant starts; signed over to the participant, not edited."""
        return read_json(self.folder / "startup" / _CONFIGS[self.kind])

    def local(self, name: str) -> dict[str, Any]:
        """A file of ``local/``, where the participant's own policy stands.

        Raises:
            SettingsError: when it is missing or no JSON.
        """
        return read_json(self.folder / "local" / name)

    @property
    def resources(self) -> dict[str, Any]:
        """What FLARE reads as the participant's resources: its own file, or the default one.

        Raises:
            SettingsError: when both are missing or the one that counts is no JSON.
        """
        own = (self.folder / "local" / RESOURCES).is_file()
        return self.local(RESOURCES if own else RESOURCES_DEFAULT)

    @cached_property
    def certificate(self) -> x509.Certificate:
        """The participant's own certificate.

        Raises:
            SettingsError: when it is missing or unreadable.
        """
        return self._certificate(f"{self._basename}.crt")

    @cached_property
    def authority(self) -> x509.Certificate:
        """The certificate of the authority that this participant trusts.

        Raises:
            SettingsError: when it is missing or unreadable.
        """
        return self._certificate("rootCA.pem")

    @property
    def key_file(self) -> Path:
        """The participant's private key."""
        return self.folder / "startup" / f"{self._basename}.key"

    @property
    def role(self) -> str | None:
        """A person's role, as the project admin signed it; None for servers and sites."""
        found = self.certificate.subject.get_attributes_for_oid(NameOID.UNSTRUCTURED_NAME)
        return str(found[0].value) if found else None

    @property
    def valid_from(self) -> datetime:
        """When the later of the two certificates begins (UTC)."""
        return max(self.certificate.not_valid_before_utc, self.authority.not_valid_before_utc)

    @property
    def valid_until(self) -> datetime:
        """When the earlier of the two certificates ends (UTC)."""
        return min(self.certificate.not_valid_after_utc, self.authority.not_valid_after_utc)

    def signed_by_authority(self) -> bool:
        """Whether the authority in the kit signed the participant's certificate."""
        try:
            self.certificate.verify_directly_issued_by(self.authority)
        except (InvalidSignature, ValueError, TypeError):
            return False
        return True

    def key_fits(self) -> bool:
        """Whether the private key in the kit is the certificate's."""
        try:
            key = load_pem_private_key(self.key_file.read_bytes(), password=None)
        except (OSError, ValueError, TypeError):
            return False
        return key.public_key() == self.certificate.public_key()

    @property
    def _basename(self) -> str:
        return "server" if self.kind == "server" else "client"

    def _certificate(self, name: str) -> x509.Certificate:
        try:
            return x509.load_pem_x509_certificate((self.folder / "startup" / name).read_bytes())
        except (OSError, ValueError) as error:
            raise SettingsError(f"kit {self.name}: startup/{name} is no readable certificate") from error


def kits(deployment: Path) -> list[Kit]:
    """The newest kits below a provisioner's workspace: the server, then sites, then people.

    Raises:
        SettingsError: when there are none.
    """
    newest = sorted(deployment.glob("*/prod_*"))[-1:]
    found = [Kit.open(child) for folder in newest for child in sorted(folder.iterdir()) if (child / "startup").is_dir()]
    if not found:
        raise SettingsError(f"no startup kits in {deployment.name!r}; make them with `fedxai deploy init`")
    return sorted(found, key=lambda kit: (_ORDER.index(kit.kind), kit.name))


def person(deployment: Path, role: str) -> Kit:
    """The kit of the first person with that role (``project_admin``, ``lead``, ``org_admin``, ``member``).

    Raises:
        SettingsError: when nobody has it.
    """
    for kit in kits(deployment):
        if kit.kind == "person" and kit.role == role:
            return kit
    raise SettingsError(f"nobody in this deployment has the role {role}; name one in project.yml")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of a kit.

    Raises:
        SettingsError: when it is missing or no JSON.
    """
    where = f"{path.parent.name}/{path.name}"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(f"the kit lacks {where}") from error
    except (OSError, json.JSONDecodeError) as error:
        raise SettingsError(f"{where} of the kit is not readable JSON") from error


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file of a kit."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def edit_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Read a JSON file of a kit, change it, write it back."""
    values = read_json(path)
    change(values)
    write_json(path, values)
