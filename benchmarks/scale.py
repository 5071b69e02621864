# SPDX-License-Identifier: Apache-2.0
"""What server memory, traffic and round time become for many sites and large networks, from measured updates.

One update is made, serialised as FLARE does, read, judged as at the server's door, taken and averaged, and the state
of its study is written; every figure is a cost a parameter, from two sizes of network. The table is those costs times
sites and parameters; before it, the same formula is held against a round that is really aggregated. Training is not in
it, nor what FLARE itself holds while it sends.

    python benchmarks/scale.py [--mbit 1000]
"""

import argparse
import logging
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.aggregator import Aggregator
from nvflare.app_common.abstract.model import make_model_learnable
from nvflare.app_common.aggregators.intime_accumulate_model_aggregator import InTimeAccumulateWeightedAggregator
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.decomposers.numpy_decomposers import NumpyArrayDecomposer
from nvflare.fuel.utils import fobs

from fedxai.flare.aggregator import FedAvgAggregator
from fedxai.flare.messages import read_dxo, update_message
from fedxai.flare.state import StudyState, StudyStore
from fedxai.privacy.tensors import check_norm
from fedxai.records import SiteRound

TENSORS = 20
SMALL, LARGE = 1_000_000, 4_000_000  # parameters; the slope between them is the cost of one
SITES = 4
SIZES = ((SITES, SMALL), (SITES, LARGE), (2 * SITES, LARGE))
CHECKED = (12, 2_000_000)  # the round that the formula is held against
TABLE = [(sites, parameters) for parameters in (10**7, 10**8, 10**9) for sites in (10, 100, 1000)]
TOLERANCE = 0.35
T = TypeVar("T")


@dataclass(frozen=True)
class Round:
    """A round at the server: seconds by part (each site's first four), bytes of an update, peak bytes of memory."""

    write: float
    read: float
    judge: float
    accept: float
    average: float
    keep: float
    wire: int
    peak: int


def weights(parameters: int, seed: int) -> dict[str, np.ndarray]:
    """Float32 tensors of so many parameters together."""
    draw = np.random.default_rng(seed)
    return {f"layer{n:02}": draw.standard_normal(parameters // TENSORS, np.float32) for n in range(TENSORS)}


def timed(action: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what came of it."""
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def measure(sites: int, parameters: int, folder: Path, kind: type[Aggregator] = FedAvgAggregator) -> Round:
    """Aggregate one round; times are medians over sites."""
    fobs.register(NumpyArrayDecomposer)
    model, aggregator, fl_ctx = weights(parameters, 0), kind(), FLContext()
    aggregator.handle_event(EventType.START_RUN, fl_ctx)
    fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, make_model_learnable(model, {}))
    fl_ctx.set_prop(AppConstants.CURRENT_ROUND, 0)
    parts: dict[str, list[float]] = {name: [] for name in ("write", "read", "judge", "accept")}
    wire, peak = 0, 0
    for site in range(sites):
        report = SiteRound(name=f"site-{site}", training_loss=1, validation={}, steps=1, seconds=1)
        sent = update_message(weights(parameters, site), report, cases=1)
        sent.add_cookie(AppConstants.CONTRIBUTION_ROUND, 0)
        seconds, content = timed(lambda sent=sent: fobs.dumps(sent))
        del sent
        parts["write"].append(seconds)
        wire = len(content)
        tracemalloc.start() if not tracemalloc.is_tracing() else None  # from the first arrival on
        seconds, arrived = timed(lambda content=content: fobs.loads(content))
        parts["read"].append(seconds)
        del content
        parts["judge"].append(timed(lambda arrived=arrived: check_norm(read_dxo(arrived).data, model, 1e9))[0])
        arrived.set_peer_props({ReservedKey.IDENTITY_NAME: f"site-{site}"})
        seconds, taken = timed(lambda arrived=arrived: aggregator.accept(arrived, fl_ctx))
        parts["accept"].append(seconds)
        if not taken:
            raise SystemExit(f"an honest update was refused by {kind.__name__}")
        del arrived
    average, _ = timed(lambda: aggregator.aggregate(fl_ctx))
    keep, _ = timed(lambda: StudyStore(folder).save(state(model)))
    peak = tracemalloc.get_traced_memory()[1] + sum(tensor.nbytes for tensor in model.values())
    tracemalloc.stop()
    middle = {name: float(np.median(seconds)) for name, seconds in parts.items()}
    return Round(**middle, average=average / sites, keep=keep, wire=wire, peak=peak)


def state(model: dict[str, np.ndarray]) -> StudyState:
    """A study's state with two models, the current and the best one."""
    words = {"settings": {}, "selector": {}, "notebook": {}, "ledger": 0, "job": "j"}
    return StudyState(round=1, weights=model, best=model, best_round=1, **words)


@dataclass(frozen=True)
class Cost:
    """Costs a parameter: seconds for one update, seconds once a round, bytes on the wire, bytes held."""

    update: float
    once: float
    wire: float
    held: float  # a site and parameter, as long as the round lasts
    fixed: float  # a parameter, whatever the number of sites

    @classmethod
    def between(cls, small: Round, large: Round, more: Round) -> "Cost":
        """From two sizes of network with the same sites, and more sites with the large one."""
        step = LARGE - SMALL

        def slope(of: Callable[[Round], float]) -> float:
            return max(0.0, (of(large) - of(small)) / step)

        held = (more.peak - large.peak) / (SITES * LARGE)
        return cls(
            update=slope(lambda r: r.read + r.judge + r.accept + r.average),
            once=slope(lambda r: r.keep + r.write),
            wire=slope(lambda r: r.wire),
            held=held,
            fixed=large.peak / LARGE - held * SITES,
        )

    def memory(self, sites: int, parameters: int) -> float:
        """Peak bytes of the server's job process beyond Python and PyTorch."""
        return parameters * (self.fixed + self.held * sites)

    def seconds(self, sites: int, parameters: int) -> float:
        """The server's own work in a round."""
        return parameters * (self.update * sites + self.once)


def main() -> int:
    """Print costs, the check and the table; 0 when the check holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mbit", type=float, default=1000, help="the server's line, Mbit/s each way")
    mbit = parser.parse_args().mbit
    logging.disable(logging.ERROR)  # FLARE's aggregator misses the engine of a job, which it only tells what it took
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        measure(1, SMALL, folder)  # imports and caches
        cost = Cost.between(*(measure(*size, folder) for size in SIZES))
        adding = Cost.between(*(measure(*size, folder, InTimeAccumulateWeightedAggregator) for size in SIZES))
        real = measure(*CHECKED, folder)
    print(f"bytes on the wire a parameter        {cost.wire:8.2f}")
    print(f"bytes held a site and parameter      {cost.held:8.2f}, and {cost.fixed:.1f} a parameter once")
    print(f"  the same where FLARE's own adds them {adding.held:8.2f}, and {adding.fixed:.1f} a parameter once")
    print(f"ns a parameter and update            {cost.update * 1e9:8.2f}, and {cost.once * 1e9:.2f} once a round")
    expected, off = cost.memory(*CHECKED), abs(real.peak / cost.memory(*CHECKED) - 1)
    print(f"check: {CHECKED[0]} sites, {CHECKED[1]:,} parameters: {real.peak / 2**20:.0f} MiB at the peak, "
          f"the formula says {expected / 2**20:.0f} ({off:.0%} off, allowed {TOLERANCE:.0%})")  # fmt: skip
    print(f"\n| parameters | sites | server memory | traffic a round | server's work | on a {mbit:g} Mbit/s line |")
    print("|---|---|---|---|---|---|")
    for sites, parameters in TABLE:
        traffic = 2 * sites * parameters * cost.wire
        print(
            f"| {named(parameters)} | {sites:,} | {cost.memory(sites, parameters) / 2**30:,.1f} GiB | "
            f"{traffic / 2**30:,.1f} GiB | {duration(cost.seconds(sites, parameters))} | "
            f"{duration(traffic / 2 * 8 / (mbit * 1e6))} |"
        )
    return 0 if off < TOLERANCE else 1


def named(parameters: int) -> str:
    """10 M, 1 B."""
    return f"{parameters // 10**9} B" if parameters >= 10**9 else f"{parameters // 10**6} M"


def duration(seconds: float) -> str:
    """Seconds in a unit that people read."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
