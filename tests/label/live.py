# SPDX-License-Identifier: Apache-2.0
"""A live server of a test's own with a tiny app: loopback, a free port, everything in one folder, ended by its pid."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import requests

from fedxai.label.access_tokens import TOKEN_FILE, TokenFile

FEDXAI = Path(sys.executable).with_name("fedxai")
PATIENCE = 400.0  # of a start that takes seven seconds, on a machine that others use too
ROLES = ("reader", "annotator", "admin")
UNWRAPPED = """
from fedxai.label import shims
shims.apply()
from monailabel.main import Main
Main().run()
"""
APP = '''
import tempfile
import time

from fedxai.label import shims

shims.apply()
import nibabel
import numpy as np
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod


class Task(InferTask):
    def __init__(self):
        super().__init__("segmentation", ["bright"], 3, "for tests")

    def is_valid(self):
        return True


class Threshold(Task):
    def __call__(self, request):
        image = nibabel.load(request["image"])
        label = (np.asanyarray(image.dataobj) > 0.5).astype("uint8")
        file = tempfile.NamedTemporaryFile(suffix=".nii.gz", delete=False).name
        nibabel.save(nibabel.Nifti1Image(label, image.affine), file)
        return file, {"voxels": int(label.size), "bright": int(label.sum())}


class Slow(Task):
    """A second of what a network does: numbers without the interpreter, and the interpreter between them."""

    def __call__(self, request):
        end, rounds = time.monotonic() + 1, 0
        numbers = np.random.default_rng(0).normal(size=(200, 200))
        while time.monotonic() < end:
            numbers = np.tanh(numbers @ numbers)
            rounds += sum(value for value in range(1000)) > 0
        return None, {"rounds": rounds}


class Broken(Task):
    def __call__(self, request):
        raise RuntimeError(f"cannot read {request['image']}")


class Nothing(ScoringMethod):
    def __init__(self):
        super().__init__("scores nothing")

    def __call__(self, request, datastore):
        return {}


class Tiny(MONAILabelApp):
    def __init__(self, app_dir, studies, conf):
        super().__init__(app_dir, studies, conf, name="tiny")

    def init_infers(self):
        return {"threshold": Threshold(), "slow": Slow(), "broken": Broken()}

    def init_scoring_methods(self):
        return {"nothing": Nothing()}
'''


@dataclass(frozen=True)
class Server:
    """Where it listens, and its folder: ``studies``, ``state``, ``app`` and what must stay as it is."""

    url: str
    folder: Path
    pid: int
    tokens: Mapping[str, str] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def ask(self, method: str, path: str, *, role: str | None = "admin", timeout: float = 60, **kwargs):
        headers = {**({"Authorization": f"Bearer {self.tokens[role]}"} if role else {}), **kwargs.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=timeout, **kwargs)

    def files(self) -> dict[str, bytes]:
        """Every file but logs and locks, with its bytes: what a refused request must not have changed."""
        left = {"logs", "tmp", "__pycache__"}
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and not left & set(path.relative_to(self.folder).parts) and path.suffix != ".lock"
        }

    def logged(self, end: str, count: int, patience: float = 20.0) -> list[str]:
        """So many lines of the access log that end so; each is written after its request was answered."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            found = [line for line in self.log().splitlines() if line.endswith(end)]
            if len(found) >= count:
                return found
            time.sleep(0.05)
        raise AssertionError(f"the access log has no {count} lines that end with {end!r}:\n{self.log()[-2000:]}")

    def log(self) -> str:
        return (self.folder / "state" / "logs" / "access.log").read_text()


def volume(shape=(12, 10, 6), seed=0) -> nibabel.Nifti1Image:
    voxels = np.random.default_rng(seed).random(shape).astype("float32")
    return nibabel.Nifti1Image(voxels, np.diag([2.0, 2.0, 3.0, 1.0]))


def prepare(folder: Path) -> None:
    for part in ("studies", "app", "elsewhere"):
        (folder / part).mkdir(parents=True)
    (folder / "app" / "main.py").write_text(APP)
    for number in range(3):
        nibabel.save(volume(seed=number), folder / "studies" / f"case{number}.nii.gz")
    nibabel.save(volume((5, 5, 5), seed=9), folder / "elsewhere" / "secret.nii.gz")


@contextmanager
def serving(folder: Path, *arguments: object, auth: str = "token", scheme: str = "http") -> Iterator[Server]:
    """`fedxai label serve` on the tiny app, with a token for each role."""
    prepare(folder)
    tokens = {role: TokenFile(folder / "state" / TOKEN_FILE).issue(role, role, days=1) for role in ROLES}
    port = _free_port()
    line = [
        *(FEDXAI, "label", "serve", "--studies", folder / "studies", "--model", "tiny", "--app", folder / "app"),
        *("--state", folder / "state", "--port", port, "--auth", auth, *arguments),
    ]
    with _running(line, folder, port, "/auth/", scheme) as process:
        yield Server(f"{scheme}://127.0.0.1:{port}", folder, process.pid, tokens)


@contextmanager
def serving_unwrapped(folder: Path) -> Iterator[Server]:
    """MONAI Label's own application on the same app."""
    prepare(folder)
    port = _free_port()
    line = [
        *(sys.executable, "-c", UNWRAPPED, "start_server", "--app", folder / "app", "--studies", folder / "studies"),
        *("-i", "127.0.0.1", "-p", port),
    ]
    with _running(line, folder, port, "/info/") as process:
        yield Server(f"http://127.0.0.1:{port}", folder, process.pid)


@contextmanager
def _running(
    line: list[object], folder: Path, port: int, path: str, scheme: str = "http"
) -> Iterator["subprocess.Popen[bytes]"]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MONAI_LABEL_AUTO_UPDATE_SCORING": "false"}
    env["PYTHONPATH"] = str(folder / "app")
    console = folder.with_name(f"{folder.name}.log")
    with console.open("wb") as log:
        process = subprocess.Popen([str(part) for part in line], stdout=log, stderr=log, env=env, cwd=folder)
    try:
        _wait(process, f"{scheme}://127.0.0.1:{port}{path}", console)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.exceptions.SSLError:  # it is there, with a certificate that the test has yet to trust
            return
        except requests.RequestException:
            time.sleep(0.2)
    raise RuntimeError(f"the server did not start: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
