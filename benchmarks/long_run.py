# SPDX-License-Identifier: Apache-2.0
"""Whether a long run stays flat: memory, open files and threads of server and sites, each round.

The main job with one optimisation step a round on small phantom cohorts, so that many rounds pass; the simulator's
server and one process a site. Growth is between the median of the ten rounds after round 20 and that of the last ten.
Memory is what is resident without mapped files, of which the system takes back as it pleases. The run ends with its
last round. Goal: memory grows by less than 5 %, open files and threads by less than one in ten rounds.

FLARE keeps a thread for every message that it received in the last minute, in case it is sent again. With rounds of a
second those are hundreds, and as many as the machine is fast; so that minute is a second here.

    python benchmarks/long_run.py [--rounds 200] [--sites 3] [--csv samples.csv]
"""

import argparse
import contextlib
import csv
import os
import re
import signal
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from fedxai.flare.simulate import run_job
from fedxai.intake.phantom import make_phantom

JOB = Path(__file__).resolve().parents[1] / "jobs" / "fedxai"
CASES = 30
SETTLED = 20  # rounds until caches are filled
WINDOW = 10
GOAL = 0.05
MORE = 0.1  # open files or threads, a round
_SITE = re.compile(r"\bsite-\d+\b")


class Measured(Exception):
    """The last round is over."""


@dataclass
class Watch:
    """Samples of every process of the run, by name."""

    samples: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)  # bytes, open files, threads

    def look(self, done: int, rounds: int, line: str) -> None:
        """Take a sample; called after each round. Of processes of one name, those with few threads only start it."""
        found: dict[str, tuple[int, int, int]] = {}
        for process in psutil.Process().children(recursive=True):
            try:
                name = name_of(process.cmdline())
                if name:
                    memory = process.memory_info()
                    sample = (memory.rss - memory.shared, process.num_fds(), process.num_threads())
                    found[name] = max(sample, found.get(name, sample), key=lambda one: one[2])
            except psutil.Error:
                continue  # it ended while it was looked at
        for name, sample in found.items():
            self.samples.setdefault(name, []).append(sample)
        if done % 20 == 0:
            print(f"round {done} of {rounds}", file=sys.stderr, flush=True)
        if done == rounds:
            raise Measured


def name_of(command: list[str]) -> str | None:
    """A site's name, ``server``, or None for what is neither."""
    if not any(part.split(".")[-1].startswith("simulator") for part in command):
        return None
    if "--client" not in command:
        return "server"
    found = _SITE.findall(" ".join(command[command.index("--client") :]))
    return found[0] if found else None


def levels(values: list[int]) -> tuple[float, float]:
    """Medians of the first rounds after the settling, and of the last ones."""
    return statistics.median(values[SETTLED : SETTLED + WINDOW]), statistics.median(values[-WINDOW:])


def measure(folder: Path, rounds: int, sites: int) -> Watch:
    """Run the job and watch it."""
    cohorts, watch = folder / "cohorts", Watch()
    for index in range(sites):
        make_phantom(cohorts / f"site-{index + 1}", site=f"site-{index + 1}", index=index, cases=CASES)
    os.environ |= {"OMP_NUM_THREADS": "1", "NVFLARE_STREAMING_RETRY_TIMEOUT": "1"}
    with contextlib.suppress(Measured):
        run_job(
            JOB,
            out=folder / "run",
            cohorts=cohorts,
            settings={"num_rounds": rounds, "explain_every": 0},
            train={"local_steps": 1, "threads": 1},
            on_progress=watch.look,
        )
    return watch


def main() -> int:
    """Print the table; 0 when all goals are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--sites", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="write every sample here")
    asked = parser.parse_args()
    if asked.rounds < SETTLED + 2 * WINDOW:
        parser.error(f"--rounds must be at least {SETTLED + 2 * WINDOW}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that its folder is taken away
    with tempfile.TemporaryDirectory() as scratch:
        watch = measure(Path(scratch), asked.rounds, asked.sites)
    if asked.csv:
        with asked.csv.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["process", "sample", "bytes", "files", "threads"])
            rows.writerows(
                [name, n, *one] for name, kept in sorted(watch.samples.items()) for n, one in enumerate(kept)
            )
    if len(watch.samples) != asked.sites + 1:
        raise SystemExit(f"watched {sorted(watch.samples)}, which is not the server and {asked.sites} sites")
    flat = True
    print(f"| process | MiB after round {SETTLED} | at the end | growth | files | at the end | threads | at the end |")
    print("|---|---|---|---|---|---|---|---|")
    for name, kept in sorted(watch.samples.items()):
        memory, files, threads = (levels([one[index] for one in kept]) for index in range(3))
        growth = memory[1] / memory[0] - 1
        passed = asked.rounds - WINDOW - SETTLED
        flat = flat and growth < GOAL and all((after - before) / passed < MORE for before, after in (files, threads))
        print(
            f"| {name} | {memory[0] / 2**20:.0f} | {memory[1] / 2**20:.0f} | {growth:.1%} | {files[0]:.0f} | "
            f"{files[1]:.0f} | {threads[0]:.0f} | {threads[1]:.0f} |"
        )
    print(f"{asked.rounds} rounds; goal: memory < {GOAL:.0%}, files and threads < {MORE} a round: {flat}")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
