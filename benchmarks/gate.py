# SPDX-License-Identifier: Apache-2.0
"""What the gate costs a site in one round, in time and bytes, beside the round of the demo itself.

The baseline, in the same run, is one round of the main job at one site of its phantom: evaluating and training as
the job's settings say. The gate's share: the task judged and rebuilt, the update judged, rebuilt, put on the ledger
(flushed to the disk) and compared with it on its way out. Goal: less than 2 % of either; the median of several turns.

    python benchmarks/gate.py [--turns 5] [--cases 60]
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey
from nvflare.app_common.app_constant import AppConstants
from nvflare.fuel.f3.message import Message

from fedxai.flare.gate import Gate
from fedxai.flare.messages import update_message, weights_message
from fedxai.flare.protocol import SUBMIT
from fedxai.flare.site import Site
from fedxai.flare.witness import HEAD
from fedxai.intake.phantom import make_phantom
from fedxai.privacy.release import released_evaluation
from fedxai.records import SiteRound

GOAL = 0.02
BUNDLE, EPOCHS, ROUNDS = "brain_mri_tumor_classification", 4, 6  # of jobs/fedxai
TASK_ID = "e57bd7ba-cfe2-463f-b8fa-42395f694910"


def context(site: Site) -> FLContext:
    """A task's context at a site whose cell sends nowhere."""
    doors = dict.fromkeys(("_send_request", "_broadcast_request", "_fire_and_forget"))
    streams, frames = SimpleNamespace(send=None), SimpleNamespace(_send_to_endpoint=None, _process_request=None)
    cell = SimpleNamespace(**doors, byte_streamer=streams, core_cell=frames, get_fqcn=str)
    fl_ctx = FLContext()
    values = {
        "__engine__": SimpleNamespace(get_component=lambda name: site, get_cell=lambda: cell),
        FLContextKey.TASK_NAME: "train",
        FLContextKey.TASK_ID: TASK_ID,
        FLContextKey.CURRENT_RUN: "job",
    }
    for name, value in values.items():
        fl_ctx.set_prop(name, value, private=True, sticky=False)
    return fl_ctx


def round_of(site: Site, round_: int) -> tuple[float, Any, Any]:
    """One round without the gate: seconds, the task and the answer."""
    weights = site.trainer.weights()
    start = time.perf_counter()
    before = site.trainer.evaluate("validation", weights, intervals=False)
    update = site.trainer.train(weights, round_=round_, rounds=ROUNDS)
    seconds = time.perf_counter() - start
    figures = released_evaluation(before, site.settings.minimum_cell).metrics
    report = SiteRound(
        name=site.name, training_loss=update.loss, validation=figures, steps=update.steps, seconds=update.seconds
    )
    task = weights_message(weights, round_=round_)
    task.set_header(AppConstants.NUM_ROUNDS, ROUNDS)
    return seconds, task, update_message(update.difference, report, cases=site.trainer.training_cases)


def pass_of(gate: Gate, task: Any, answer: Any, fl_ctx: FLContext) -> float:
    """Seconds that the gate takes for one task and its answer."""
    start = time.perf_counter()
    gate.incoming(task, fl_ctx)
    out = gate.outgoing(answer, fl_ctx)
    out.set_header(ReservedHeaderKey.TASK_ID, TASK_ID)
    gate.judge(*SUBMIT, Message({}, out))
    seconds = time.perf_counter() - start
    if out.get_header(HEAD) is None or "DXO" not in out:
        raise SystemExit("the gate refused an honest round; its cost says nothing")
    return seconds


def main() -> int:
    """Print the ratios; 0 when both goals are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--cases", type=int, default=60)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_phantom(folder / "site-1", site="site-1", index=0, cases=asked.cases)
        site = Site(bundle=BUNDLE, train={"local_epochs": EPOCHS}, cohorts=scratch)
        folders = dict.fromkeys(("folder", "home", "study", "local"), folder)
        site._context = {"name": "site-1", "simulated": True, "sites": 1, **folders}  # what FLARE tells it
        fl_ctx, gate = context(site), Gate()
        gate.close(fl_ctx)
        round_of(site, 0)  # caches are filled
        ratios, size = [], 0
        for turn in range(asked.turns):
            seconds, task, answer = round_of(site, turn)
            ratios.append(pass_of(gate, task, answer, fl_ctx) / seconds)
        entries = list(site.ledger.entries())
        size = entries[-1].bytes
        head = len(str(site.ledger.head().model_dump()))
        line = site.ledger.path.stat().st_size / len(entries)
    ratio, most, sent = statistics.median(ratios), max(ratios), head / size
    print(f"time  gate / round            {ratio:.4f} (largest {most:.4f})   goal < {GOAL}  {met(ratio < GOAL)}")
    print(f"bytes gate's header / update  {sent:.6f}   goal < {GOAL}  {met(sent < GOAL)}")
    print(f"disk  a ledger entry / update {line / size:.6f} ({line:.0f} bytes, stays at the site)")
    return 0 if ratio < GOAL and sent < GOAL else 1


def met(goal: bool) -> str:
    """A word for a goal."""
    return "met" if goal else "not met"


if __name__ == "__main__":
    sys.exit(main())
