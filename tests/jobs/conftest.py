# SPDX-License-Identifier: Apache-2.0
"""Jobs of the tests: the main job with small cohorts, and with faults planted at its sites."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = '''
"""Faults at named sites in named rounds, planted by the tests."""
import json
import os
import signal
from pathlib import Path

import numpy as np
from nvflare.apis.dxo import MetaKey
from nvflare.app_common.app_constant import AppConstants

from fedxai.flare.executors import TrainExecutor
from fedxai.flare.messages import SITE_ROUND, read_dxo, update_message
from fedxai.records import SiteRound


class FaultyTrainExecutor(TrainExecutor):
    def __init__(self, faults: dict, site: str = "site"):
        super().__init__(site)
        self.faults = faults

    def _train(self, site, message, abort_signal):
        round_ = int(message.get_header(AppConstants.CURRENT_ROUND)) + 1
        fault = self.faults.get(f"{site.name}/{round_}") or self.faults.get(f"*/{round_}")
        if fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "nan loss":
            data = {k: np.full_like(v, np.nan) for k, v in read_dxo(message).data.items()}
            read_dxo(message).data.update(data)
        if fault in ("nan update", "wrong shape", "wrong name"):
            report = SiteRound(name=site.name, training_loss=0, validation={}, steps=1, seconds=0)
            update = {k: np.zeros_like(v) for k, v in read_dxo(message).data.items()}
            first = next(iter(update))
            if fault == "nan update":
                update[first] = np.full_like(update[first], np.nan)
            elif fault == "wrong shape":
                update[first] = np.zeros(3, np.float32)
            else:
                update["stowaway"] = update.pop(first)
            return update_message(update, report, cases=site.trainer.training_cases)
        if fault == "nothing to select by":
            reply = super()._train(site, message, abort_signal)
            dxo = read_dxo(reply)
            dxo.set_meta_prop(MetaKey.INITIAL_METRICS, {})
            dxo.set_meta_prop(SITE_ROUND, {**dxo.get_meta_prop(SITE_ROUND), "validation": {}})
            return dxo.to_shareable()
        return super()._train(site, message, abort_signal)
'''


@pytest.fixture
def main_job(repository) -> Path:
    return repository / "jobs" / "fedxai"


@pytest.fixture
def brief_job(main_job, explaining, little, tmp_path) -> Path:
    """The main job without the costly questions."""
    return explaining(main_job, tmp_path / "brief", **little)


@pytest.fixture
def small_cohorts(tmp_path) -> Path:
    """Three phantom cohorts that train in a moment."""
    from fedxai.intake.phantom import make_phantom

    for index in range(3):
        make_phantom(tmp_path / "cohorts" / f"site-{index + 1}", site=f"site-{index + 1}", index=index, cases=30)
    return tmp_path / "cohorts"


@pytest.fixture
def faulty_job(brief_job, tmp_path):
    """The main job with faults: {"site-2/1": "nan loss"} means at site-2 in round 1."""

    def make(faults: dict[str, str]) -> Path:
        job = tmp_path / "faulty"
        shutil.copytree(brief_job, job)
        (job / "app" / "custom" / "faulty.py").write_text(FAULTS)
        config = json.loads((job / "app" / "config" / "config_fed_client.json").read_text())
        config["executors"][0]["executor"] = {"path": "faulty.FaultyTrainExecutor", "args": {"faults": faults}}
        (job / "app" / "config" / "config_fed_client.json").write_text(json.dumps(config))
        return job

    return make


@pytest.fixture(scope="session")
def bare_simulator():
    """FLARE's own command in an empty folder, as its users type it."""

    def start(
        folder: Path, job: Path, *options: str, cohorts: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        environment = {name: value for name, value in os.environ.items() if name != "FEDXAI_COHORTS"}
        return subprocess.run(
            [Path(sys.executable).with_name("nvflare"), "simulator", job, *options],
            cwd=folder,
            env={**environment, **({"FEDXAI_COHORTS": str(cohorts)} if cohorts else {})},
            capture_output=True,
            text=True,
            check=False,
        )

    return start
