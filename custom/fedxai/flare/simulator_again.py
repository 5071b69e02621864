# SPDX-License-Identifier: Apache-2.0
"""FLARE's simulator for a run that goes on: what the run before left in its workspace is kept, not wiped.

Run as ``python -m fedxai.flare.simulator_again JOB -w WORKSPACE -c SITES -t THREADS``.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from nvflare.fuel.utils.log_utils import LogMode
from nvflare.private.fed.app.simulator.simulator import define_simulator_parser
from nvflare.private.fed.app.simulator.simulator_runner import SimulatorRunner

from fedxai.flare.home import FOLDER
from fedxai.flare.simulate import EARLIER

_OURS = Path("simulate_job") / FOLDER


class SimulatorAgain(SimulatorRunner):
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


def main() -> int | None:
    """Run the job in the workspace of the run before; the exit code is FLARE's."""
    parser = argparse.ArgumentParser()
    define_simulator_parser(parser)
    arguments = parser.parse_args()
    runner = SimulatorAgain(
        job_folder=arguments.job_folder,
        workspace=arguments.workspace,
        clients=arguments.clients,
        threads=arguments.threads,
        log_config=LogMode.CONCISE,
    )
    return runner.run()


if __name__ == "__main__":
    sys.exit(main())
