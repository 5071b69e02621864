# SPDX-License-Identifier: Apache-2.0
"""FLARE's simulator as our commands start it: every site has its own name, a run may go on, and none is left behind.

Run as ``python -m fedxai.flare.simulator JOB -w WORKSPACE -c SITES -t THREADS [--resume] [--parent PID]``.
"""

import argparse
import contextlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from nvflare.fuel.utils.log_utils import LogMode
from nvflare.private.fed.app.simulator.simulator import define_simulator_parser
from nvflare.private.fed.app.simulator.simulator_runner import SimulatorRunner

from fedxai.flare.home import FOLDER
from fedxai.flare.simulate import EARLIER

_OURS = Path("simulate_job") / FOLDER


class _OfThread(dict[str, Any]):
    """A mapping of which every thread sends what it put there itself.

    FLARE 2.9 starts all sites at once, each in a thread of its own, and tells a site's process its name through one
    mapping that these threads share: where two of them write before either sends, two sites get the same name, read
    the same cohort and give the same answers, and nothing says so.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._own = threading.local()

    def __setitem__(self, key: str, value: Any) -> None:
        self._own.__dict__[key] = value

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, ({**self, **self._own.__dict__},)


class Simulator(SimulatorRunner):
    """Tells every site its own name."""

    def create_client(self, client_name: str) -> None:
        """Make a simulated site, as FLARE does."""
        super().create_client(client_name)
        self.build_ctx = _OfThread(self.build_ctx)  # pyright: ignore[reportArgumentType]


class SimulatorAgain(Simulator):
    """Begins as FLARE's does, in empty folders, then brings back what server and sites had of ours.

    Killed at any moment, it finds everything either in its place or under ``earlier/``.
    """

    def _cleanup_workspace(self) -> None:
        root = Path(str(self.simulator_root))
        for ours in sorted(root.glob(f"*/{_OURS}")):
            there = root / EARLIER / ours.parents[1].name
            if not there.exists():
                there.parent.mkdir(exist_ok=True)
                ours.rename(there)
        for child in root.iterdir():
            if child.is_dir() and child.name not in (EARLIER, "local", "startup"):
                shutil.rmtree(child)

    def _deploy_apps(self, job_name: Any, data_bytes: Any, meta: Any, log_config_file_path: Any) -> None:
        super()._deploy_apps(job_name, data_bytes, meta, log_config_file_path)
        root = Path(str(self.simulator_root))
        for earlier in sorted((root / EARLIER).glob("*")):
            place = root / earlier.name / _OURS
            place.parent.mkdir(parents=True, exist_ok=True)
            earlier.rename(place)
        (root / EARLIER).rmdir()


def end_with(parent: int) -> None:
    """Wait until the program that started this process is gone, however it ended, then end what it left behind.

    Nothing is half-written by that: whatever server and sites keep is written beside its place and then moved there.
    """
    while os.getppid() == parent:
        time.sleep(1)
    for child in reversed(psutil.Process().children(recursive=True)):  # sites first: FLARE's main thread ends with ours
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    os.killpg(os.getpgrp(), signal.SIGKILL)  # this process, and what it has begun since they were listed


def main() -> int | None:
    """Run the job; the exit code is FLARE's."""
    parser = argparse.ArgumentParser()
    define_simulator_parser(parser)
    parser.add_argument("--resume", action="store_true", help="go on with the run whose workspace this is")
    parser.add_argument("--parent", type=int, help="process without which the run ends")
    arguments = parser.parse_args()
    if arguments.parent is not None:
        if os.getpgrp() != os.getpid():
            os.setpgrp()
        threading.Thread(target=end_with, args=(arguments.parent,), daemon=True).start()
    runner = (SimulatorAgain if arguments.resume else Simulator)(
        job_folder=arguments.job_folder,
        workspace=arguments.workspace,
        clients=arguments.clients,
        threads=arguments.threads,
        log_config=LogMode.CONCISE,
    )
    return runner.run()


if __name__ == "__main__":
    sys.exit(main())
