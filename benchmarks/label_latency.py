# SPDX-License-Identifier: Apache-2.0
"""Time to a prediction and to saliency at the radiologist's desk, beside MONAI Label's own app on the same bundle.

The baseline, in the same run, is MONAI Label's own server with its own BundleInferTask on the same exported bundle and
the same volumes (a phantom). Requests to the two servers take turns and figures are medians of a turn's ratios; cold is
the first request after the start. Goals: a prediction at most 1.1 x the baseline's, saliency at most 2 x, and /info
within 50 ms while cases are explained, where the baseline answers nobody until it has predicted. A loaded machine is
slow to everybody: beside /info stands that of the baseline with nothing to do, asked in turn with it.

    python benchmarks/label_latency.py [--quick]
"""

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from fedxai.bundle import Bundle
from fedxai.intake.phantom_3d import make_phantom_3d

BUNDLE = "hippocampus_mri_segmentation"
GOALS = {"prediction": 1.1, "saliency": 2.0}
INFO_GOAL = 0.05  # seconds
MET = {True: "met", False: "not met"}
PATIENCE = 600.0
BASELINE_APP = '''
from fedxai.label import shims

shims.apply()
from monailabel.interfaces.app import MONAILabelApp
from monailabel.tasks.infer.bundle import BundleInferTask


class OnThisMonai(BundleInferTask):
    """With MONAI 1.6, Spacingd takes MONAI Label's image_path for metadata; its loader wants labels of every key."""

    def pre_transforms(self, data=None):
        transforms = super().pre_transforms(data)
        for transform in transforms:
            transform.keys = ("image",)
        return transforms

    def run_pre_transforms(self, data, transforms):
        path = data.pop("image_path", None)
        return {**super().run_pre_transforms(data, transforms), "image_path": path}


class Baseline(MONAILabelApp):
    def init_infers(self):
        return {"baseline": OnThisMonai(self.conf["model"], {})}
'''
START_BASELINE = """
from fedxai.label import shims

shims.apply()
from monailabel.main import Main

Main().run()
"""


@dataclass(frozen=True)
class Desk:
    """A running server."""

    url: str

    def infer(self, model: str, image: str) -> float:
        """Seconds to an answer with its file."""
        began = time.perf_counter()
        reply = requests.post(f"{self.url}/infer/{model}", params={"image": image}, timeout=PATIENCE)
        reply.raise_for_status()
        return time.perf_counter() - began

    def info(self) -> float:
        """Seconds to what is asked of a server first."""
        began = time.perf_counter()
        requests.get(f"{self.url}/info/", timeout=PATIENCE).raise_for_status()
        return time.perf_counter() - began


@contextmanager
def running(line: list[object], folder: Path, port: int) -> Iterator[Desk]:
    """The server while it is needed."""
    folder.mkdir(exist_ok=True)
    env = {**os.environ, "MONAI_LABEL_AUTO_UPDATE_SCORING": "false", "PYTHONPATH": str(folder / "app")}
    with (folder / "console").open("wb") as log:
        process = subprocess.Popen([str(part) for part in line], stdout=log, stderr=log, env=env)
    try:
        desk = Desk(f"http://127.0.0.1:{port}")
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and process.poll() is None:
            try:
                desk.info()
                break
            except requests.RequestException:
                time.sleep(0.5)
        else:
            raise SystemExit((folder / "console").read_text()[-2000:])
        yield desk
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def ours(root: Path, model: Path) -> tuple[list[object], Path, int]:
    """How the guarded server is started."""
    port = free_port()
    fedxai = Path(sys.executable).with_name("fedxai")
    line: list[object] = [
        fedxai,
        "label",
        "serve",
        "--studies",
        root / "ours-studies",
        "--model",
        model,
        "--port",
        port,
    ]
    return [*line, "--auth", "none", "--conf", "device=cpu", "--state", root / "ours" / "state"], root / "ours", port


def theirs(root: Path, model: Path) -> tuple[list[object], Path, int]:
    """How MONAI Label's own server is started."""
    port, app = free_port(), root / "theirs" / "app"
    app.mkdir(parents=True)
    (app / "main.py").write_text(BASELINE_APP)
    line: list[object] = [sys.executable, "-c", START_BASELINE, "start_server", "--app", app, "-i", "127.0.0.1"]
    return [*line, "-p", port, "--studies", root / "theirs-studies", "--conf", "model", model], root / "theirs", port


def studies(root: Path, count: int) -> list[str]:
    """Ids of volumes that both servers get a copy of."""
    cohort = make_phantom_3d(root / "cohort", site="site-1", index=0, task="segmentation", cases=max(count, 12))
    images = [case.image for cases in cohort.splits().values() for case in cases][:count]
    for kind in ("ours", "theirs"):
        (root / f"{kind}-studies").mkdir()
        for number, image in enumerate(images):
            shutil.copy(image, root / f"{kind}-studies" / f"case{number}.nii.gz")
    return [f"case{number}" for number in range(len(images))]


def report(what: str, times: list[float], baseline: list[float]) -> None:
    """One line: the median ratio of turns, and the medians."""
    ratio = statistics.median(one / other for one, other in zip(times, baseline, strict=True))
    goal = GOALS[what]
    print(
        f"{what:10s} / baseline, warm: {ratio:.2f} (goal {goal}: {MET[ratio <= goal]}); "
        f"{statistics.median(times):.2f} s, baseline {statistics.median(baseline):.2f} s",
        flush=True,
    )


def asked_meanwhile(desk: Desk, model: str, images: list[str], idle: Desk) -> tuple[list[float], list[float]]:
    """Seconds to /info while cases are worked on, and in turn with it to that of a server with nothing to do."""
    times, beside = [], []
    with ThreadPoolExecutor(1) as pool:
        work = [pool.submit(desk.infer, model, image) for image in images]
        time.sleep(0.05)
        while not work[-1].done():
            times.append(desk.info())
            beside.append(idle.info())
            time.sleep(0.02)
    for one in work:
        one.result()
    return times, beside


def spread(times: list[float]) -> str:
    """Median, 95th percentile and slowest."""
    slow = sorted(times)[int(0.95 * (len(times) - 1))]
    return f"median {1000 * statistics.median(times):.0f}, 95 % {1000 * slow:.0f}, slowest {1000 * max(times):.0f} ms"


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few cases, to see that it works")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended with it
    turns = 3 if parser.parse_args().quick else 15
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as servers:
        root = Path(scratch)
        bundle = Bundle.open(BUNDLE)
        model = bundle.export(root / "model", bundle.network(seed=0).state_dict())
        images = studies(root, turns + 1)
        desk = servers.enter_context(running(*ours(root, model)))
        bare = servers.enter_context(running(*theirs(root, model)))
        cold = bare.infer("baseline", images[0])
        for what in GOALS:
            print(f"{what:10s} / baseline, cold: {desk.infer(what, images[0]) / cold:.2f}; baseline {cold:.2f} s")
        took: dict[str, list[float]] = {"baseline": [], **{what: [] for what in GOALS}}
        for image in images[1:]:
            took["baseline"].append(bare.infer("baseline", image))
            for what in GOALS:
                took[what].append(desk.infer(what, image))
        for what in GOALS:
            report(what, took[what], took["baseline"])
        info, idle = asked_meanwhile(desk, "saliency", images, bare)
        blocked, _ = asked_meanwhile(bare, "baseline", images, desk)
        median = statistics.median(info)
        print(
            f"/info while cases are explained: {spread(info)} (goal {1000 * INFO_GOAL:.0f} ms: "
            f"{MET[median <= INFO_GOAL]}), {median / statistics.median(idle):.2f} x that of the baseline with nothing "
            f"to do at the same moments: {spread(idle)}; baseline while it predicts: {spread(blocked)}"
        )


def free_port() -> int:
    """A port of loopback that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


if __name__ == "__main__":
    main()
