# SPDX-License-Identifier: Apache-2.0
"""A site's desk for tests: a bundle with weights, and `fedxai label serve` on a DICOMweb archive or a folder."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from fedxai.label.access_tokens import TOKEN_FILE, TokenFile

FEDXAI = Path(sys.executable).with_name("fedxai")
ROLES = ("reader", "annotator", "admin")
_PATIENCE = 600.0  # a loaded machine takes long to import MONAI Label


@dataclass(frozen=True)
class Desk:
    """Where the server listens, and a token for each role."""

    url: str
    state: Path
    tokens: Mapping[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, *, role: str = "annotator", timeout: float = 300, **kwargs: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[role]}"}
        return requests.request(method, self.url + path, headers=headers, timeout=timeout, **kwargs)

    def told(self, method: str, path: str, **kwargs: Any) -> Any:
        """The JSON of an answer that must be 200."""
        answer = self.ask(method, path, **kwargs)
        assert answer.status_code == 200, answer.text
        return answer.json()


def with_weights(bundle: Path, folder: Path) -> Path:
    """A copy of a bundle with weights drawn by chance; FEDXAI_MODEL names a trained bundle, for pictures to show."""
    from fedxai.bundle import Bundle

    if given := os.environ.get("FEDXAI_MODEL"):
        return Path(given)
    opened = Bundle.open(bundle)
    return opened.export(folder, opened.network(seed=0).state_dict())


@contextmanager
def serving(folder: Path, studies: Sequence[object], model: Path | str, *more: object) -> Iterator[Desk]:
    """Serve ``--dicomweb URL`` or ``--studies DIR``, with a token for each role."""
    state = folder / "state"
    state.mkdir(parents=True)
    tokens = {role: TokenFile(state / TOKEN_FILE).issue(role, role, days=1) for role in ROLES}
    port = _free_port()
    line = [FEDXAI, "label", "serve", *studies, "--model", model, "--state", state, "--port", port, *more]
    console = folder / "console.log"
    with console.open("wb") as log:
        process = subprocess.Popen(
            [str(part) for part in line], stdout=log, stderr=log, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    try:
        desk = Desk(f"http://127.0.0.1:{port}", state, tokens)
        _wait(desk, process, console)
        yield desk
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def _wait(desk: Desk, process: "subprocess.Popen[bytes]", console: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if requests.get(f"{desk.url}/auth/", timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.2)
    raise RuntimeError(f"the server did not start: {console.read_text(errors='replace')[-3000:]}")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
