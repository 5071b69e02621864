# SPDX-License-Identifier: Apache-2.0
"""What the ledger costs: a round's entries against the round that they tell of, and the chain against its hashes alone.

A round of the demo is timed in one process, as in `benchmarks/simulator_overhead.py`: every site evaluates the global
model, trains, and explains. Beside it stands what the ledger takes in such a round: to serialise and hash what each
site sends, and to write it to the disk before it goes, at the site and at the server. Verifying is measured on a
ledger of a million entries, beside a bare SHA-256 of every line.

    python benchmarks/ledger.py [--quick]
"""

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fedxai.bundle import Bundle
from fedxai.flare.messages import update_message
from fedxai.flare.witness import payload_of
from fedxai.intake.cohort import Cohort, site_cohorts
from fedxai.intake.phantom import make_phantom_sites
from fedxai.privacy.audit import verify
from fedxai.privacy.chain import GENESIS, Entry, line_of
from fedxai.privacy.ledger import Ledger
from fedxai.records import SiteRound
from fedxai.settings import TrainSettings
from fedxai.train.engine import SiteTrainer

BUNDLE = "brain_mri_tumor_classification"
SITES = 4
LOCAL_EPOCHS = 4  # the demo's
GOAL = 0.02


def round_and_ledger(scratch: Path, cases: int, repeats: int) -> tuple[float, float]:
    """Seconds of a round of training at all sites, and of what the ledger does for it."""
    make_phantom_sites(scratch / "cohorts", sites=SITES, cases=cases)
    seconds, messages = 0.0, []
    for site, path in site_cohorts(scratch / "cohorts").items():
        settings = TrainSettings(local_epochs=LOCAL_EPOCHS)
        trainer = SiteTrainer(
            bundle=Bundle.open(BUNDLE), cases=Cohort.open(path).splits(), site=site, settings=settings
        )
        weights = trainer.weights()
        trainer.train(weights, round_=0, rounds=2)  # the first round also reads the images
        start = time.perf_counter()
        trainer.evaluate("validation", weights, intervals=False)
        difference = trainer.train(weights, round_=1, rounds=2).difference
        seconds += time.perf_counter() - start
        report = SiteRound(name=site, training_loss=0.0, validation={}, steps=1, seconds=0.0)
        messages.append(update_message(difference, report, cases=trainer.training_cases))

    def ledgers() -> None:
        for number, message in enumerate(messages):
            head = None
            for book, whose in ((scratch / f"site{number}.jsonl", None), (scratch / "server.jsonl", "site")):
                found = payload_of(message, "train")
                words = {"kind": found.kind, "size": found.size, "digest": found.digest, "task": "train", "round_": 0}
                head = Ledger(book).record(**words, site=whose, head=head if whose else None)

    return seconds, median_of(ledgers, repeats)


def verified(scratch: Path, count: int) -> tuple[float, float, int]:
    """Seconds to verify a ledger, seconds to hash its lines and nothing else, and its bytes."""
    path, previous = scratch / "large.jsonl", GENESIS
    with path.open("wb") as file:
        for n in range(1, count + 1):
            entry = Entry.model_construct(
                n=n, time="2026-01-01T00:00:00.000+00:00", job="job", round=n, task="train", kind="update",
                channel="task", bytes=480_000, digest=GENESIS, decision="released",
            )  # fmt: skip
            line, previous = line_of(entry, previous)
            file.write(line)
    start = time.perf_counter()
    audit = verify(path)
    took = time.perf_counter() - start
    if not audit.intact or audit.head.count != count:
        raise SystemExit("the ledger that was just written does not verify")
    start = time.perf_counter()
    with path.open("rb") as file:
        for line in file:
            hashlib.sha256(line).hexdigest()
    return took, time.perf_counter() - start, path.stat().st_size


def median_of(work: Callable[[], None], repeats: int) -> float:
    """The median of so many timings."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, to see that it works")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as scratch:
        seconds, cost = round_and_ledger(Path(scratch), cases=24 if quick else 200, repeats=9)
        print(
            f"ledger / round, {SITES} sites and their server: {cost / seconds:.4f} (goal {GOAL}); "
            f"round {seconds:.2f} s, ledger {1000 * cost:.1f} ms",
            flush=True,
        )
        count = 20_000 if quick else 1_000_000
        took, bare, size = verified(Path(scratch), count)
        print(
            f"verify / bare SHA-256 of the lines: {took / bare:.1f}; {count} entries ({size / 1e6:.0f} MB) "
            f"in {took:.1f} s (goal 10 s for a million)"
        )


if __name__ == "__main__":
    main()
