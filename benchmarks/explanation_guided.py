# SPDX-License-Identifier: Apache-2.0
"""Guided training: accuracy against explainability, with the honesty battery beside every E.

Trains, centralised and federated, on the same cohorts with the same steps and seeds: the plain network; the local
evidence network guided by its relevance; the same with the energy term, and with the occlusion term too; the gated
network. A round is 8 steps of 4 cases at each site, in one place 8 steps times the sites, as in docs/results.md. Prints
for each, of its last model (a term that comes late is in no other), the test figures over all sites' cases: macro AUC,
accuracy, E (gradient x input, |S|) with its chance level, pointing game, and the honesty battery; and differences to
the plain network, the named baseline of the same run. What the terms cost is counted: the floating point operations of
a step with all terms at full weight, of four cases with a region and of four without, in those of a step of the same
network without terms. Seconds are a mean over all steps, with validations; arms with a late term compute in float32,
the others in bfloat16.

    python benchmarks/explanation_guided.py --cohorts COHORTS [--rounds 265] [--seeds 0 1 2]
        [--masks 1.0] [--pseudo-regions] [--guidance '{"energy_weight": 1.2}'] [--learning-rate 0.002] [--quick]
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from fedxai.bundle import Bundle
from fedxai.combine.honesty import won_by_construction
from fedxai.intake.cohort import Cohort, site_cohorts
from fedxai.intake.phantom import make_phantom_sites
from fedxai.records import SPLITS, Case, Split
from fedxai.score.examine import examine
from fedxai.score.honesty import HonestyBattery
from fedxai.settings import GuidanceSettings, TrainSettings, checked
from fedxai.train.engine import SiteTrainer, Weights
from fedxai.train.federation import train_rounds

PLAIN, EVIDENCE, GATED = (f"brain_mri_tumor_{design}" for design in ("classification", "local_evidence", "gated"))
ARMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "plain": (PLAIN, ()),
    "plain + energy": (PLAIN, ("energy",)),
    "evidence": (EVIDENCE, ()),
    "evidence + relevance": (EVIDENCE, ("relevance",)),
    "evidence + relevance + energy": (EVIDENCE, ("relevance", "energy")),
    "evidence + relevance + energy + occlusion": (EVIDENCE, ("relevance", "energy", "occlusion")),
    "gated + relevance": (GATED, ("relevance",)),
    "gated + relevance + energy": (GATED, ("relevance", "energy")),
}
STEPS, BATCH = 8, 4  # of a site in a round, cases in a step
Cases = dict[Split, list[Case]]


def main() -> None:
    """Train and examine every asked arm."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cohorts", type=Path, help="folder with one cohort per site; default: the phantom")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), help="which designs")
    parser.add_argument("--how", nargs="+", choices=["centralised", "federated"], default=["centralised", "federated"])
    parser.add_argument("--rounds", type=int, default=265, help=f"of {STEPS} steps of {BATCH} cases at each site")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--masks", type=float, default=1.0, help="share of training cases that keep their region")
    parser.add_argument("--learning-rate", type=float, help="instead of the bundle's own, which is for federations")
    parser.add_argument("--mask-sites", type=int, help="sites that keep their regions; default: all")
    parser.add_argument("--pseudo-regions", action="store_true", help="for cases without a region, in the late terms")
    parser.add_argument(
        "--guidance", type=json.loads, default={}, help="JSON: settings of the late terms, as in a job's guidance"
    )
    parser.add_argument("--battery", type=int, default=60, help="cases of the honesty battery")
    parser.add_argument("--out", type=Path, help="JSON lines file that every result is added to")
    parser.add_argument("--quick", action="store_true", help="2 rounds on a small phantom, to see that it works")
    asked = parser.parse_args()
    for arm in asked.arms:  # refuses wrong settings before the first training
        guided(ARMS[arm][1], seed=0, learning_rate=asked.learning_rate, **late_settings(asked, ARMS[arm][1]))
    with tempfile.TemporaryDirectory() as scratch:
        if asked.quick:
            asked.rounds, asked.seeds, asked.battery = 2, [0], 4
        root = asked.cohorts or Path(scratch) / "phantom"
        if not asked.cohorts:
            make_phantom_sites(root, sites=4, cases=24 if asked.quick else 200)
        sites = {site: Cohort.open(path).splits() for site, path in site_cohorts(root).items()}
        for seed in asked.seeds:
            for how in asked.how:
                compare(sites, asked, how, seed)


def compare(sites: Mapping[str, Cases], asked: argparse.Namespace, how: str, seed: int) -> None:
    """All arms of one way to train, with one seed; the first arm is the baseline of the differences."""
    baseline: dict[str, Any] = {}
    for arm in asked.arms:
        found = measure(sites, asked, how, seed, arm)
        baseline = baseline or found
        change = ", ".join(f"{name} {found[name] - baseline[name]:+.3f}" for name in ("auc", "accuracy", "E"))
        print(f"{json.dumps(found)}\n  against {baseline['arm']}: {change}", flush=True)
        if asked.out:
            with asked.out.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(found) + "\n")


def measure(sites: Mapping[str, Cases], asked: argparse.Namespace, how: str, seed: int, arm: str) -> dict[str, Any]:
    """Train one arm; the test figures of its last model."""
    name, terms = ARMS[arm]
    kept, steps = masked(sites, asked, seed), STEPS
    if how == "centralised":
        kept, steps = {"pooled": pool(kept)}, STEPS * len(sites)
    late = late_settings(asked, terms)
    settings = guided(terms, seed=seed, steps=steps, learning_rate=asked.learning_rate, **late)
    found = examined(kept, pool(sites), name, settings, rounds=asked.rounds, battery=asked.battery)
    about = {"arm": arm, "how": how, "seed": seed, "rounds": asked.rounds, "learning_rate": asked.learning_rate}
    return {**about, "masks": asked.masks, "mask_sites": asked.mask_sites, "guidance": late, **found}


def late_settings(asked: argparse.Namespace, terms: Sequence[str]) -> dict[str, Any]:
    """The asked settings of the late terms, as far as an arm with these terms can have them."""
    by_relevance = "relevance" in terms
    wanted = {name: value for name, value in asked.guidance.items() if by_relevance or name != "hold_relevance"}
    return {**(wanted if terms else {}), "pseudo_regions": asked.pseudo_regions and by_relevance and len(terms) > 1}


class Operations(TorchDispatchMode):
    """Counts floating point operations as PyTorch's FlopCounterMode does, which cannot follow an image's gradient."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one operator by its formula."""
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def operations(
    cases: Cases, bundle: Bundle, settings: TrainSettings, weights: Weights, *, rounds: int
) -> dict[str, float]:
    """Of a step of the last round from these weights, by those of a step without terms."""

    def counted(guidance: GuidanceSettings, *, regions: bool) -> int:
        drawn = sorted(cases["training"], key=lambda case: case.region is None)[:BATCH]  # with a region where any has
        few = {**cases, "training": [case if regions else replace(case, region=None) for case in drawn]}
        step = settings.model_copy(update={"local_steps": 1, "guidance": guidance})
        site = SiteTrainer(bundle=bundle, cases=few, site="counted", settings=step)
        with Operations() as counter:
            site.train(weights, round_=rounds - 1, rounds=rounds)
        return counter.total

    plain = counted(checked(GuidanceSettings, {}, what="guidance"), regions=True)
    kinds = {"operations": True, "operations_without_region": False}
    return {kind: round(counted(settings.guidance, regions=with_) / plain, 2) for kind, with_ in kinds.items()}


def guided(
    terms: Sequence[str],
    *,
    seed: int,
    steps: int = STEPS,
    learning_rate: float | None = None,
    **late: Any,
) -> TrainSettings:
    """How a site trains in a round under these terms and their settings; in bfloat16 where the terms allow it."""
    guidance = checked(GuidanceSettings, {"terms": terms, **late}, what="guidance")
    settings = {
        "local_steps": steps,
        "batch_size": BATCH,
        "learning_rate": learning_rate,
        "mixed_precision": not guidance.late,
        "validate_every": 50,
        "seed": seed,
        "guidance": guidance,
    }
    return checked(TrainSettings, settings, what="train")


def examined(
    sites: Mapping[str, Cases], pooled: Cases, name: str, settings: TrainSettings, *, rounds: int, battery: int
) -> dict[str, Any]:
    """Train a bundle by FedAvg over the sites; the figures of its last model on the test cases of ``pooled``."""
    bundle = Bundle.open(name)
    trainers = {
        site: SiteTrainer(bundle=bundle, cases=cases, site=site, settings=settings) for site, cases in sites.items()
    }
    trained = train_rounds(trainers, rounds=rounds)
    tester = SiteTrainer(bundle=bundle, cases=pooled, site="pooled", settings=settings)
    evaluation = tester.evaluate("test", trained.last, intervals=False).metrics
    explanation = examine(
        tester.network,
        tester.explanation_batches("test", limit=10_000, batch_size=16),
        split="test",
        methods=["gradient_x_input"],
    ).methods[0]
    asking = HonestyBattery(tester.network, limit=battery)
    for batch in tester.explanation_batches("test", limit=battery, batch_size=16):
        asking.add(batch)
    honesty = asking.result()
    return {
        "auc": evaluation["macro_auc"].value or 0.0,
        "accuracy": evaluation["accuracy"].value or 0.0,
        "E": explanation.scores["relevance_mass"].value or 0.0,
        "chance": explanation.chance["relevance_mass"].value,
        "E_margin": explanation.scores["relevance_mass_margin"].value,
        "pointing": explanation.scores["pointing_game"].value,
        **({figure: found.value for figure, found in honesty.figures.items()} if honesty else {}),
        "by_construction": won_by_construction([explanation], honesty),
        **operations(pooled, bundle, settings, trained.last, rounds=rounds),
        "seconds_per_step": round(trained.seconds / trained.steps, 4),
    }


def masked(sites: Mapping[str, Cases], asked: argparse.Namespace, seed: int) -> dict[str, Cases]:
    """The sites' cases, of which only the asked share keeps its region in training."""
    random = np.random.default_rng(seed)
    with_masks = list(sites)[: asked.mask_sites]
    return {
        site: {
            **cases,
            "training": [
                case if site in with_masks and random.random() < asked.masks else replace(case, region=None)
                for case in cases["training"]
            ],
        }
        for site, cases in sites.items()
    }


def pool(sites: Mapping[str, Cases]) -> Cases:
    """All sites' cases together."""
    return {split: [case for cases in sites.values() for case in cases[split]] for split in SPLITS}


if __name__ == "__main__":
    main()
