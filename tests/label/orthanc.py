# SPDX-License-Identifier: Apache-2.0
"""A real Orthanc of a test's own: loopback, a free port, storage below a temporary folder, ended by its own pid."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import requests

PROGRAM = shutil.which("Orthanc")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
MISSING = not (PROGRAM and PLUGIN.exists())
WHY = "no Orthanc here: apt-get install orthanc orthanc-dicomweb"
_PATIENCE = 30.0


@dataclass(frozen=True)
class Orthanc:
    """Where it listens; ``/dicom-web`` below it is what a hospital's archive offers."""

    url: str

    @property
    def dicomweb(self) -> str:
        return f"{self.url}/dicom-web"

    def upload(self, files: Sequence[Path]) -> None:
        """Through Orthanc's own interface, so that what is read over DICOMweb was not written over it."""
        for file in files:
            requests.post(f"{self.url}/instances", data=file.read_bytes(), timeout=10).raise_for_status()

    def find(self, level: str = "Instance", **query: str) -> list[str]:
        """Orthanc's own ids of what matches."""
        answer = requests.post(f"{self.url}/tools/find", json={"Level": level, "Query": query}, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def empty(self) -> None:
        """Forget every patient."""
        for patient in requests.get(f"{self.url}/patients", timeout=10).json():
            self.forget(patient)

    def forget(self, patient: str) -> None:
        """Forget one patient, by Orthanc's own id."""
        requests.delete(f"{self.url}/patients/{patient}", timeout=10).raise_for_status()

    def file(self, instance: str) -> bytes:
        answer = requests.get(f"{self.url}/instances/{instance}/file", timeout=10)
        answer.raise_for_status()
        return answer.content

    def rendered(self, instance: str, frame: int = 0) -> bytes:
        """One frame as Orthanc itself draws it: a PNG."""
        answer = requests.get(f"{self.url}/instances/{instance}/frames/{frame}/preview", timeout=10)
        answer.raise_for_status()
        return answer.content


@contextmanager
def running(folder: Path) -> Iterator[Orthanc]:
    """Start Orthanc and wait until its DICOMweb answers."""
    assert PROGRAM is not None
    port = _free_port()
    settings = folder / "orthanc.json"
    settings.write_text(json.dumps(_settings(folder, port)))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, str(settings)], stdout=log, stderr=subprocess.STDOUT)
        try:
            orthanc = Orthanc(f"http://127.0.0.1:{port}")
            _wait(orthanc, process, folder / "orthanc.log")
            yield orthanc
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def headers(files: Sequence[Path]) -> list[Any]:
    return [pydicom.dcmread(file, stop_before_pixels=True) for file in files]


def _settings(folder: Path, port: int) -> dict[str, Any]:
    return {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": port,
        "HttpServerEnabled": True,
        "HttpThreadsCount": 4,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Host": f"127.0.0.1:{port}", "Ssl": False},
    }


def _wait(orthanc: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if requests.get(f"{orthanc.dicomweb}/studies", timeout=2).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise RuntimeError(f"Orthanc did not start: {log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
