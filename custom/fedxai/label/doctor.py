# SPDX-License-Identifier: Apache-2.0
"""Preflight of the server: what would keep it from serving, each with one remedy."""

import importlib.metadata
import shutil
import socket
import stat
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import requests
from packaging.requirements import Requirement

from fedxai.bundle import Bundle
from fedxai.errors import FedxaiError
from fedxai.label import shims
from fedxai.label.access_tokens import TOKEN_FILE, TokenFile
from fedxai.label.archive import Archive, reads_series
from fedxai.label.grids import IMAGES
from fedxai.label.launch import search_path
from fedxai.label.model_watch import admit
from fedxai.label.series import MODALITIES
from fedxai.label.served import dimension_of
from fedxai.label.settings import ServerSettings
from fedxai.preflight import Finding

PACKAGE = "fedxai-med"
_WITHOUT_DEPENDENCIES = (Requirement("monailabel==0.8.5"), Requirement("pydicom-seg==0.4.1"))
_TIMEOUT = 10
_KINDS = {2: "radiographs or other pictures", 3: "CT, MR or PET slices"}  # by the dimension of a model's images
_REMEDIES = {
    "shims": shims.INSTALL,
    "tokens": "remove the file and issue the tokens again",
    "model": "--model must name a run, or a bundle with weights, that `fedxai bundle approve` has approved",
}


def examine(settings: ServerSettings, model: Callable[[], Bundle], *, site: Path | None = None) -> list[Finding]:
    """All checks of a server before it starts.

    Args:
        settings: what would be served.
        model: opens the model; what it refuses becomes a finding.
        site: the site's ``local/`` folder, whose list says which bundles may run; None: bundles of this checkout.
    """
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("versions", versions),
        ("shims", shimmed),
        ("tools", tools),
        ("port", lambda: port(settings)),
        ("state folder", lambda: state(settings)),
        ("tokens", lambda: tokens(settings)),
        ("model", lambda: approved(model(), site)),
        ("studies", lambda: studies(settings, lambda: dimension_of(model()))),
    ]
    return [_answer(name, check) for name, check in checks]


def versions() -> Finding:
    """Every package of the extra ``label`` is there, and MONAI Label itself, in a version that it was made for."""
    needed = [Requirement(text) for text in importlib.metadata.requires(PACKAGE) or []]
    extra = [need for need in needed if need.marker and need.marker.evaluate({"extra": "label"})]
    wrong = []
    for need in (*_WITHOUT_DEPENDENCIES, *extra):
        found = _version(need.name)
        if found is None or not need.specifier.contains(found, prereleases=True):
            wrong.append(f"{need.name} {found or 'missing'} (needs {need.specifier or 'any'})")
    if wrong:
        return Finding("versions", ", ".join(wrong), shims.INSTALL)
    return Finding("versions", f"MONAI Label {_version('monailabel')}, PyTorch {_version('torch')}")


def shimmed() -> Finding:
    """MONAI Label can be imported here, with what it needs for that."""
    shims.apply()
    needed = [
        *(["pydicom-seg with pydicom 3"] if shims.old_storage_missing() else []),
        *(["no torchvision"] if shims.torchvision_missing() else []),
    ]
    return Finding("shims", f"in use: {', '.join(needed)}" if needed else "none are needed")


def tools() -> Finding:
    """The program that writes DICOM SEG is there; MONAI Label would download it when the server starts."""
    there = shutil.which("itkimage2segimage", path=search_path())
    return Finding("tools", f"itkimage2segimage is {'there' if there else 'missing'}", "" if there else shims.INSTALL)


def port(settings: ServerSettings) -> Finding:
    """The port is free."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family) as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((settings.host, settings.port))
    except OSError as error:
        remedy = "stop the program that uses it, or choose another with --port"
        return Finding("port", f"{settings.host}:{settings.port} cannot be used ({error.strerror})", remedy)
    return Finding("port", f"{settings.host}:{settings.port} is free")


def state(settings: ServerSettings) -> Finding:
    """The folder of tokens, logs and temporary files is nobody else's."""
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = stat.S_IMODE(settings.state.stat().st_mode)
    return Finding("state folder", f"mode {mode:o}", f"chmod 700 {settings.state}" if mode & 0o077 else "")


def tokens(settings: ServerSettings) -> Finding:
    """Somebody can log in."""
    if settings.auth == "none":
        return Finding("tokens", "not asked for; anybody on this machine may do everything")
    valid = [one for one in TokenFile(settings.state / TOKEN_FILE).issued() if one.until > datetime.now(timezone.utc)]
    if not valid and settings.openid is None:
        return Finding("tokens", "none", "fedxai label token --name NAME --role annotator")
    return Finding("tokens", f"{len(valid)} issued{', and an identity provider' if settings.openid else ''}")


def approved(bundle: Bundle, site: Path | None) -> Finding:
    """The model's bundle was read and may run here.

    Raises:
        BundleError: when it may not.
    """
    admit(bundle.inspection, site)
    return Finding("model", f"{bundle.name} {bundle.digest[:12]}, approved")


def studies(settings: ServerSettings, dimension: Callable[[], int]) -> Finding:
    """There is something to serve, and it can be read.

    Args:
        settings: what would be served.
        dimension: of the model's images, which says what of a folder of DICOM files is served.
    """
    if settings.archive:
        reply = requests.get(f"{settings.studies.rstrip('/')}/series", params={"limit": 1}, timeout=_TIMEOUT)
        wrong = "" if reply.ok else "check the address, and the archive's DICOMweb plugin and password"
        return Finding("studies", f"the archive answers {reply.status_code}", wrong)
    folder = Path(settings.studies)
    if folder.is_dir() and reads_series(settings.studies):
        kind = _KINDS[axes := dimension()]
        series = len(Archive(settings.studies).images(MODALITIES[axes]))
        remedy = "" if series else f"--studies must name a folder with {kind}; to this model others are not served"
        return Finding("studies", f"{series} series of {kind} in DICOM files", remedy)
    images = [path for path in folder.iterdir() if path.name.endswith(IMAGES)] if folder.is_dir() else []
    if not images:
        remedy = f"--studies must name a folder that holds {', '.join(IMAGES)} files, or series of DICOM"
        return Finding("studies", "no image", remedy)
    with images[0].open("rb") as file:
        file.read(1)
    return Finding("studies", f"{len(images)} images")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _answer(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except FedxaiError as error:
        return Finding(name, str(error), _REMEDIES.get(name, "put that right"))
    except (OSError, requests.RequestException) as error:
        return Finding(name, f"cannot be read ({type(error).__name__})", "check the address and its permissions")
