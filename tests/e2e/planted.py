# SPDX-License-Identifier: Apache-2.0
"""Faults that the tests plant in a real deployment: each strikes once, while its mark lies in the folder FAULTS."""

import os
import time
from pathlib import Path

import numpy as np
from nvflare.app_common.app_constant import AppConstants

from fedxai.flare.aggregator import FedAvgAggregator
from fedxai.flare.executors import TrainExecutor

LONGEST = 900  # seconds that anything is held


def mark(what: str, who: str, round_: int) -> Path:
    """The file that asks for a fault; rounds count from 1."""
    return Path(os.environ["FAULTS"]) / f"{what}_{who}_{round_}"


def hold(who: str, round_: int) -> None:
    """Say that this point is reached and stay there until the mark is gone."""
    asked = mark("hold", who, round_)
    if asked.is_file():
        asked.with_name(f"reached_{asked.name}").touch()
        deadline = time.monotonic() + LONGEST
        while asked.is_file() and time.monotonic() < deadline:
            time.sleep(0.05)


def fill(who: str, round_: int) -> None:
    """Fill the disk on which the file lies that the mark names."""
    asked = mark("fill", who, round_)
    if asked.is_file():
        try:
            with Path(asked.read_text()).open("wb", buffering=0) as file:
                for size in (65536, 512, 1):
                    while file.write(bytes(size)):
                        pass
        except OSError:
            asked.unlink()


class Aggregator(FedAvgAggregator):
    """Can be held while it aggregates."""

    def aggregate(self, fl_ctx):
        """See the class."""
        hold("server", fl_ctx.get_prop(AppConstants.CURRENT_ROUND) + 1)
        return super().aggregate(fl_ctx)


class Executor(TrainExecutor):
    """Can be held with its update in its hands, fill its disk, or spoil the update."""

    def _train(self, site, message, abort_signal):
        round_ = int(message.get_header(AppConstants.CURRENT_ROUND)) + 1
        fill(site.name, round_)
        reply = super()._train(site, message, abort_signal)
        hold(site.name, round_)
        spoilt = mark("nan", site.name, round_)
        if spoilt.is_file():
            spoilt.unlink()
            tensors = reply["DXO"]["data"]
            name = next(iter(tensors))
            tensors[name] = np.full_like(tensors[name], np.nan)
        return reply
