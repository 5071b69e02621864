# SPDX-License-Identifier: Apache-2.0
"""The loop pays: what regions that readers draw in a share of the cases do for the next federated training.

Readers are simulated from the masks, with a reader's sloppiness: what is drawn lies beside the lesion by some of its
size, is too wide or too narrow, some lesions are missed, and two readers who draw the same case disagree. What both
drew becomes one region as in `fedxai label export`. Sites then train the local evidence network by FedAvg, guided by
its relevance where a case has a region; the plain training without any is the named baseline. E and AUC are those of
the test cases of all sites against their true masks, which no reader touched.

    python benchmarks/label_loop.py --cohorts COHORTS [--shares 0 0.1 0.3] [--rounds 265] [--seeds 1] [--figure PNG]
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from explanation_guided import BATCH, EVIDENCE, STEPS, Cases, examined, guided, pool
from fedxai.intake.cohort import Cohort, site_cohorts
from fedxai.intake.phantom import make_phantom_sites
from fedxai.label.readers import common
from fedxai.records import Case

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How a reader draws: all lengths in units of the lesion's diameter, that of a disc of its area."""

    shift: float = 0.12  # standard deviation of where the drawing lies
    width: float = 0.12  # standard deviation of how much too wide it is; below 0 too narrow
    missed: float = 0.1  # share of lesions that are not drawn

    def draw(self, mask: Mask, random: np.random.Generator) -> Mask | None:
        """What the reader draws around the lesion ``mask``; None where it is missed."""
        if random.random() < self.missed or not mask.any():
            return None
        diameter = 2 * np.sqrt(mask.sum() / np.pi)
        moved = ndimage.shift(mask.astype(float), random.normal(0, self.shift * diameter, 2), order=1) > 0.5
        by = round(random.normal(self.width, self.width) * diameter / 2)
        if by > 0:
            return ndimage.binary_dilation(moved, iterations=by)
        thinner = ndimage.binary_erosion(moved, iterations=-by) if by < 0 else moved
        return thinner if thinner.any() else moved


def main() -> None:
    """Train once a share and a seed, and print each against the training without regions."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cohorts", type=Path, help="folder with one cohort per site; default: the phantom")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.1, 0.3], help="of training cases drawn")
    parser.add_argument("--rounds", type=int, default=265, help=f"of {STEPS} steps of {BATCH} cases at each site")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--battery", type=int, default=60, help="cases of the honesty battery")
    parser.add_argument("--figure", type=Path, help="PNG of E and AUC against the share")
    parser.add_argument("--quick", action="store_true", help="1 round on a small phantom, to see that it works")
    asked = parser.parse_args()
    if asked.quick:
        asked.rounds, asked.battery, asked.shares = 1, 4, [0.0, 0.5]
    with tempfile.TemporaryDirectory() as scratch:
        root = asked.cohorts or Path(scratch) / "phantom"
        if not asked.cohorts:
            make_phantom_sites(root, sites=4, cases=24 if asked.quick else 200)
        sites = {site: Cohort.open(path).splits() for site, path in site_cohorts(root).items()}
        results = [
            result
            for seed in range(asked.seeds)
            for result in compare(sites, asked.shares, asked, seed=seed, folder=Path(scratch) / f"drawn-{seed}")
        ]
    if asked.figure:
        picture(results, asked.figure)


def compare(
    sites: Mapping[str, Cases], shares: Sequence[float], asked: argparse.Namespace, *, seed: int, folder: Path
) -> list[dict[str, Any]]:
    """The figures of each share with one seed; the first share is the baseline of the differences."""
    results: list[dict[str, Any]] = []
    for share in shares:
        kept, drawn = read(sites, share, seed=seed, folder=folder / str(share))
        settings = guided(["relevance"] if drawn["regions"] else [], seed=seed)
        figures = examined(kept, pool(sites), EVIDENCE, settings, rounds=asked.rounds, battery=asked.battery)
        results.append({"share": share, "seed": seed, **drawn, **figures})
        change = {name: round(figures[name] - results[0][name], 4) for name in ("auc", "accuracy", "E")}
        print(f"{json.dumps(results[-1])}\n  against share {shares[0]}: {change}", flush=True)
    return results


def read(
    sites: Mapping[str, Cases], share: float, *, seed: int, folder: Path
) -> tuple[dict[str, Cases], dict[str, Any]]:
    """The sites' cases of which a share was read by two, and how many got a region; the others have none."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    overlaps: list[float] = []
    regions = 0

    def after(case: Case) -> Case:
        nonlocal regions
        if case.region is None or random.random() >= share:
            return replace(case, region=None)
        mask = np.asarray(Image.open(case.region)) > 0
        drawings = [drawn for drawn in (Reader().draw(mask, random) for _ in range(2)) if drawn is not None]
        if not drawings:
            return replace(case, region=None)
        together = common(drawings)
        overlaps.append(2 * (together & mask).sum() / (together.sum() + mask.sum()))
        path = folder / f"{regions}.png"
        Image.fromarray(together.astype(np.uint8) * 255).save(path)
        regions += 1
        return replace(case, region=path)

    kept = {site: {**cases, "training": [after(case) for case in cases["training"]]} for site, cases in sites.items()}
    return kept, {"regions": regions, "dice_to_truth": round(float(np.mean(overlaps)), 3) if overlaps else None}


def picture(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """E beside its chance level, and AUC, against the share of cases that readers drew."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, 2), (("E", "E"), ("auc", "macro AUC")), strict=True):
        axes.plot([100 * r["share"] for r in results], [r[name] for r in results], "o", color="#0072b2")
        axes.set(xlabel="training cases with a drawn region (%)", ylabel=label)
        if name == "E":
            axes.axhline(results[0]["chance"], color="#999999", linestyle="--", label="chance")
            axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
