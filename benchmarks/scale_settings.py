# SPDX-License-Identifier: Apache-2.0
"""What FLARE's settings for large models move: the server's peak memory in rounds over loopback, on against off.

FLARE's own ScatterAndGather and in-time aggregator, no gate and no training: every site waits, then all answer at once
with an update as large as the model. The server is a process of its own, and so is every site. Peaks are what is
resident at most in the last round, while the model goes out and while the updates come in, less what was resident
beside the model before the first round, in sizes of the model; the first round only warms up. Medians of several turns,
in which all settings take part; beside each its share of the baseline with the same kind of message.

    python benchmarks/scale_settings.py [--sites 6] [--parameters 4000000] [--turns 3] [--only NAME ...]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.model import ModelLearnable, make_model_learnable
from nvflare.app_common.abstract.model_persistor import ModelPersistor
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType
from nvflare.fuel.utils.fobs import FOBSContextKey

TENSORS = 20
ROUNDS = 2
SENT, WORK = 6, 12  # seconds from the last site's task on, until it has surely gone out and until sites answer
FIGURES = "figures.json"
COMMON = "nvflare.app_common"
STREAM = "nvflare.app_opt.tensor_stream"
OFFLOAD_FOLDER = "tensor_disk_offload_root_dir"  # in FLARE a private name
OFFLOAD = {"enable_tensor_disk_offload": True}
# name -> (kind of message, the baseline's name, settings of both sides, of the workflow, whether tensors are streamed)
SETTINGS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any], bool]] = {
    "arrays": ("arrays", "arrays", {}, {}, False),
    "arrays, pieces of 256 KiB": ("arrays", "arrays", {"np_download_chunk_size": 2**18}, {}, False),
    "arrays within the message": ("arrays", "arrays", {"np_download_chunk_size": 0}, {}, False),
    "arrays, streamers": ("arrays", "arrays", {}, {}, True),
    "tensors": ("tensors", "tensors", {}, {}, False),
    "tensors, disk offload": ("tensors", "tensors", {}, OFFLOAD, False),
    "tensors, streamers": ("tensors", "tensors", {}, {}, True),
}


def weights(kind: str, parameters: int) -> dict[str, Any]:
    """Float32 arrays or tensors of so many parameters together."""
    draw = np.random.default_rng(0)
    arrays = {f"layer{n:02}": draw.standard_normal(parameters // TENSORS, np.float32) for n in range(TENSORS)}
    if kind == "arrays":
        return arrays
    import torch

    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def prepare(kind: str) -> None:
    """Let this process send tensors."""
    if kind == "tensors":
        from nvflare.app_opt.pt.decomposers import TensorDecomposer
        from nvflare.fuel.utils import fobs

        fobs.register(TensorDecomposer)


class Model(ModelPersistor):
    """Gives the server its first model and keeps none."""

    def __init__(self, kind: str, parameters: int) -> None:
        super().__init__()
        self.kind, self.parameters = kind, parameters

    def load_model(self, fl_ctx: FLContext) -> ModelLearnable:
        """A model of that size."""
        prepare(self.kind)
        return make_model_learnable(weights(self.kind, self.parameters), {})

    def save_model(self, model: ModelLearnable, fl_ctx: FLContext) -> None:
        """Nothing."""


class Answer(Executor):
    """A site that answers with what it was sent."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """See `prepare`."""
        if event_type == EventType.START_RUN:
            prepare(self.kind)

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """An update as large as the model."""
        update = from_shareable(shareable).data
        if len(update) != TENSORS:
            raise ValueError(f"the model must have {TENSORS} tensors, got {len(update)}")
        time.sleep(WORK)
        return DXO(DataKind.WEIGHT_DIFF, update, {MetaKey.NUM_STEPS_CURRENT_ROUND: 1}).to_shareable()


class Meter(FLComponent):
    """At the server: what is resident beside the model before the first round, and the peaks of the last one."""

    def __init__(self, out: str, model: int, sites: int) -> None:
        super().__init__()
        self.out, self.model, self.sites = Path(out), model, sites
        self.figures: dict[str, int] = {}

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Take the figures."""
        if event_type == AppEventType.ROUND_STARTED:
            before = self.figures.get("before", resident("VmRSS") - self.model)
            self.figures = {"before": before, "asked": 0, "accepted": 0, "lazy": 0}
            self._restart()
            self._tell_the_jobs_cell(fl_ctx)
        elif event_type == EventType.AFTER_TASK_DATA_FILTER:
            self.figures["asked"] += 1
            if self.figures["asked"] == self.sites:
                threading.Timer(SENT, self._sent).start()
        elif event_type == AppEventType.BEFORE_CONTRIBUTION_ACCEPT:
            update = from_shareable(fl_ctx.get_prop(AppConstants.TRAINING_RESULT)).data
            self.figures["accepted"] += 1
            self.figures["lazy"] += all(hasattr(value, "materialize") for value in update.values())
        elif event_type == AppEventType.ROUND_DONE:
            self.figures["in"] = resident("VmHWM")
            self.out.write_text(json.dumps(self.figures))

    def _tell_the_jobs_cell(self, fl_ctx: FLContext) -> None:
        """Make disk offload work: in the simulator, FLARE 2.9 sets it at the server's cell instead of the job's."""
        engine = fl_ctx.get_engine()
        said = engine.get_cell().get_fobs_context()
        if said.get(FOBSContextKey.TENSOR_DISK_OFFLOAD):
            names = (FOBSContextKey.TENSOR_DISK_OFFLOAD, OFFLOAD_FOLDER)
            engine.server.job_cell.update_fobs_context({name: said[name] for name in names})

    def _sent(self) -> None:
        self.figures["out"] = resident("VmHWM")
        self._restart()

    def _restart(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is resident now


def resident(what: str) -> int:
    """Bytes, as Linux says them."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what + ":")]
    return int(line.split()[1]) * 1024


def component(id_: str, path: str, **args: Any) -> dict[str, Any]:
    """An entry of a job's configuration."""
    return {"id": id_, "path": path, "args": args}


def write_job(folder: Path, name: str, sites: int, parameters: int) -> None:
    """A job with that setting."""
    kind, _, both, workflow, streamed = SETTINGS[name]
    ours, (config, custom) = Path(__file__).stem, (folder / "app" / "config", folder / "app" / "custom")
    config.mkdir(parents=True)
    custom.mkdir()
    shutil.copy(__file__, custom)
    rounds = {"min_clients": sites, "num_rounds": ROUNDS, "wait_time_after_min_received": 0, "train_timeout": 300}
    ids = {f"{part}_id": part for part in ("aggregator", "persistor", "shareable_generator")}
    sag = component("sag", f"{COMMON}.workflows.scatter_and_gather.ScatterAndGather", **rounds, **ids, **workflow)
    generator = "shareablegenerators.full_model_shareable_generator.FullModelShareableGenerator"
    aggregator = "aggregators.intime_accumulate_model_aggregator.InTimeAccumulateWeightedAggregator"
    form = "pytorch" if kind == "tensors" else "numpy"
    server = [
        component("meter", f"{ours}.Meter", out=str(folder / FIGURES), model=4 * parameters, sites=sites),
        component("persistor", f"{ours}.Model", kind=kind, parameters=parameters),
        component("shareable_generator", f"{COMMON}.{generator}"),
        component("aggregator", f"{COMMON}.{aggregator}", expected_data_kind="WEIGHT_DIFF"),
        *([component("streamer", f"{STREAM}.server.TensorServerStreamer", format=form)] if streamed else []),
    ]
    client = [component("streamer", f"{STREAM}.client.TensorClientStreamer", format=form)] if streamed else []
    answer = {"tasks": ["train"], "executor": {"path": f"{ours}.Answer", "args": {"kind": kind}}}
    nothing = {"format_version": 2, "task_data_filters": [], "task_result_filters": [], **both}
    sides = {
        "server": {**nothing, "workflows": [sag], "components": server},
        "client": {**nothing, "executors": [answer], "components": client},
    }
    for side, values in sides.items():
        (config / f"config_fed_{side}.json").write_text(json.dumps(values))
    deploy = {"app": ["server", *(f"site-{n + 1}" for n in range(sites))]}
    meta = {"name": "scale", "resource_spec": {}, "min_clients": sites, "deploy_map": deploy}
    (folder / "meta.json").write_text(json.dumps(meta))


def measure(name: str, sites: int, parameters: int) -> tuple[float, float]:
    """The peaks with that setting while the model goes out and while updates come in, in sizes of the model."""
    with tempfile.TemporaryDirectory() as scratch:
        job = Path(scratch) / "job"
        write_job(job, name, sites, parameters)
        command = [sys.executable, "-m", "fedxai.flare.simulator", str(job), "--parent", str(os.getpid())]
        command += ["-w", f"{scratch}/workspace", "-t", str(sites)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if not (job / FIGURES).is_file():
            raise SystemExit(f"{name}: no round was finished\n{ran.stdout[-4000:]}{ran.stderr[-4000:]}")
        figures = json.loads((job / FIGURES).read_text())
    if figures["accepted"] != sites:
        raise SystemExit(f"{name}: {figures['accepted']} of {sites} updates came in")
    if figures["lazy"] != (sites if SETTINGS[name][3] else 0):
        raise SystemExit(f"{name}: {figures['lazy']} of {sites} updates were on the disk")
    out, into = ((figures[way] - figures["before"]) / (4 * parameters) for way in ("out", "in"))
    return out, into


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=6)
    parser.add_argument("--parameters", type=int, default=4_000_000)
    parser.add_argument("--only", nargs="*", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    peaks: dict[str, list[tuple[float, float]]] = {name: [] for name in asked.only}
    for _ in range(asked.turns):
        for name in asked.only:
            peaks[name].append(measure(name, asked.sites, asked.parameters))
            print(f"{name}: {peaks[name][-1][0]:.1f} out, {peaks[name][-1][1]:.1f} in", file=sys.stderr, flush=True)
    print("| setting | model out, in models | against its baseline | updates in, in models | against its baseline |")
    print("|---|---|---|---|---|")
    middle = {name: [statistics.median(way) for way in zip(*turns, strict=True)] for name, turns in peaks.items()}
    for name, both in middle.items():
        baseline = middle.get(SETTINGS[name][1], both)
        cells = (f"{peak:.1f} | {peak / base:.2f}" for peak, base in zip(both, baseline, strict=True))
        print(f"| {name} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
