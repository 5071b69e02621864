# SPDX-License-Identifier: Apache-2.0
"""Whether a long run stays flat: resident memory, open files and threads of server and sites, each round.

The main job with one optimisation step a round on small phantom cohorts, so that many rounds pass; the simulator's
server and one process a site. Growth is between the median of the ten rounds after round 20 and that of the last ten.
Goal: memory grows by less than 5 %, open files and threads not at all.

    python benchmarks/long_run.py [--rounds 200] [--sites 3] [--csv samples.csv]
"""

import argparse
import csv
import os
import re
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
_SITE = re.compile(r"\bsite-\d+\b")


@dataclass
class Watch:
    """Samples of every process of the run, by name."""

    samples: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)  # bytes, open files, threads

    def look(self, done: int, rounds: int, line: str) -> None:
        """Take a sample; called after each round."""
        for process in psutil.Process().children(recursive=True):
            try:
                name = name_of(process.cmdline())
                if name:
                    sample = (process.memory_info().rss, process.num_fds(), process.num_threads())
                    self.samples.setdefault(name, []).append(sample)
            except psutil.Error:
                continue  # it ended while it was looked at
        if done % 20 == 0:
            print(f"round {done} of {rounds}", file=sys.stderr, flush=True)


def name_of(command: list[str]) -> str | None:
    """A site's name, ``server``, or None for what is neither."""
    modules = [part for part in command if part.startswith("nvflare.private.fed.app.simulator")]
    if not modules:
        return None
    if modules[0].endswith(".simulator"):
        return "server"
    found = _SITE.findall(" ".join(command[command.index("--client") :])) if "--client" in command else []
    return found[0] if found else None


def growth(values: list[int], settled: int) -> float:
    """Relative growth from the rounds after ``settled`` to the last ones."""
    before, after = statistics.median(values[settled : settled + WINDOW]), statistics.median(values[-WINDOW:])
    return after / before - 1


def measure(folder: Path, rounds: int, sites: int) -> Watch:
    """Run the job and watch it."""
    cohorts, watch = folder / "cohorts", Watch()
    for index in range(sites):
        make_phantom(cohorts / f"site-{index + 1}", site=f"site-{index + 1}", index=index, cases=CASES)
    os.environ["OMP_NUM_THREADS"] = "1"
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
    print(f"{'process':8} {'MiB at the end':>14} {'growth':>8} {'files':>7} {'growth':>7} {'threads':>8} {'growth':>7}")
    for name, kept in sorted(watch.samples.items()):
        memory, files, threads = ([one[index] for one in kept] for index in range(3))
        grown = [growth(values, SETTLED) for values in (memory, files, threads)]
        flat = flat and grown[0] < GOAL and grown[1] <= 0 and grown[2] <= 0
        last = [statistics.median(values[-WINDOW:]) for values in (memory, files, threads)]
        print(
            f"{name:8} {last[0] / 2**20:14.0f} {grown[0]:8.1%} {last[1]:7.0f} {grown[1]:7.1%} "
            f"{last[2]:8.0f} {grown[2]:7.1%}"
        )
    print(f"{asked.rounds} rounds; goal: memory < {GOAL:.0%} after round {SETTLED}, files and threads flat: {flat}")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
