# SPDX-License-Identifier: Apache-2.0
"""A live server of a test's own with the reading app: loopback, a free port, everything in one folder."""

import runpy
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

LIVE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("live.py"))))


@contextmanager
def reading(folder: Path, *, model: Path, images: list[Path], arguments: tuple[object, ...] = ()) -> Iterator:
    """`fedxai label serve` on copies of some images; everybody on loopback may do everything."""
    studies = folder / "studies"
    studies.mkdir(parents=True)
    for image in images:
        shutil.copy(image, studies)
    port = LIVE._free_port()
    line = [
        *(LIVE.FEDXAI, "label", "serve", "--studies", studies, "--model", model, "--state", folder / "state"),
        *("--port", port, "--auth", "none", "--conf", "device=cpu", *arguments),
    ]
    (folder / "app").mkdir()
    with LIVE._running(line, folder, port, "/auth/") as process:
        yield LIVE.Server(f"http://127.0.0.1:{port}", folder, process.pid)


def client_of(server, folder: Path):
    """MONAI Label's own client, with a folder of its own for what it brings."""
    from fedxai.label import shims

    shims.apply()
    from monailabel.client import MONAILabelClient

    return MONAILabelClient(server.url, tmpdir=str(folder), client_id="workstation")
