# SPDX-License-Identifier: Apache-2.0
"""How often the shortcut alarm finds a scanner mark at one site for one class, and how often it cries wolf.

A run is a consortium of its own: cohorts drawn anew, fresh weights, federated training of the bundle's network from
scratch, gradient x input in every site, and the alarm from the sites' summary figures alone. In a planted run every
image of one class at one site carries a small white mark at the rim; site, class and spot change from run to run. In
a clean run, of the same sizes, nothing is planted. How far the model fell for the mark is measured beside the alarm:
the recall of that class where the mark is, and where it is not. Goal: found in at least 9 of 10 planted runs (an
alarm names the site and the class), a false alarm in at most 1 of 20 clean runs.

The cohorts are four phantoms, the one with the mark the largest; or, with --cohorts, the patients of real cohorts,
dealt anew to as many sites in every run. Those cohorts are only read: marks are put into copies.

    python benchmarks/shortcut_alarm.py [--cohorts COHORTS] [--planted 10] [--clean 20] [--first-seed 100]
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedxai.bundle import Bundle
from fedxai.combine.shortcut_alarm import find_shortcuts
from fedxai.intake.cohort import Cohort, site_cohorts
from fedxai.intake.phantom import make_phantom
from fedxai.intake.split import make_sites
from fedxai.records import SPLITS, PlaceSummary, ShortcutSearch, Split
from fedxai.report.gallery import Gallery
from fedxai.score.examine import examine
from fedxai.settings import TrainSettings
from fedxai.train.engine import SiteTrainer
from fedxai.train.evaluation import evaluate_logits
from fedxai.train.federation import train_rounds

BUNDLE = "brain_mri_tumor_classification"
METHOD = "gradient_x_input"
SITES, LARGE, SMALL = 4, 240, 100  # phantoms, cases of the one with the mark and of each other one
SIDE, EDGE, SIZE = 12, 3, 128  # of the mark, its distance from the rim, of the image: in pixels


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a run's cohorts come from, and how they are trained and searched.

    Attributes:
        sites: how many.
        draw: a run's cohorts by site, from its seed, the site that the mark is for, and an empty folder.
        rounds, train: federated rounds, and what a site does in one.
        searched, limit: the splits in which each site says where the relevance lies, and of how many cases of each.
    """

    sites: int
    draw: Callable[[int, str, Path], dict[str, Cohort]]
    rounds: int
    train: Mapping[str, Any]
    searched: tuple[Split, ...]
    limit: int

    @classmethod
    def phantoms(cls) -> "Source":
        """Phantoms, all drawn anew."""
        return cls(
            sites=SITES,
            draw=draw_phantoms,
            rounds=8,
            train={"local_epochs": 2, "batch_size": 8},
            searched=("validation", "test"),
            limit=LARGE,
        )

    @classmethod
    def cohorts(cls, root: Path, folder: Path) -> "Source":
        """Cohorts of a root, their patients dealt anew; held-out patients of a class are too few a site."""
        sites, together = len(site_cohorts(root)), pool(root, folder)

        def deal(seed: int, _: str, out: Path) -> dict[str, Cohort]:
            dealt = make_sites(together, out, sites=sites, seed=seed)
            return {site: Cohort.open(path) for site, path in dealt.items()}

        return cls(
            sites=sites,
            draw=deal,
            rounds=24,
            train={"local_steps": 8, "batch_size": 4, "mixed_precision": True},
            searched=SPLITS,
            limit=100,
        )


@dataclass(frozen=True, kw_only=True)
class Plant:
    """Which class of which site carries the mark, and where its upper left corner is, on a grid of SIZE x SIZE."""

    site: str
    class_index: int
    row: int
    column: int

    @classmethod
    def draw(cls, seed: int, *, sites: int, classes: int) -> "Plant":
        """Site and class in turn, so that ten runs meet all; the spot anywhere along the rim."""
        rng = np.random.default_rng([seed, 9])
        near, along = (EDGE, SIZE - EDGE - SIDE)[rng.integers(2)], int(rng.integers(EDGE, SIZE - EDGE - SIDE + 1))
        row, column = (near, along) if rng.integers(2) else (along, near)
        return cls(site=f"site-{seed % sites + 1}", class_index=seed % classes, row=row, column=column)

    def spot(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of the mark in an image of this size."""
        corners = ((self.row, height), (self.column, width))
        rows, columns = (slice(start * n // SIZE, (start + SIDE) * n // SIZE) for start, n in corners)
        return rows, columns


@dataclass(frozen=True, kw_only=True)
class Run:
    """One consortium: what was planted, how good the model became, and what the alarm said."""

    seed: int
    plant: Plant | None
    search: ShortcutSearch
    macro_auc: float  # over the test cases of all sites
    recalls: dict[str, float]  # by site: cases of the planted class (clean: of the class that would be) seen as such
    seconds: float  # of the processor

    @property
    def found(self) -> bool:
        """An alarm names the planted site and class."""
        return any(self._planted(alarm.site, alarm.class_index) for alarm in self.search.alarms)

    @property
    def false_alarms(self) -> int:
        """Alarms for a site or class where nothing is planted."""
        return sum(not self._planted(alarm.site, alarm.class_index) for alarm in self.search.alarms)

    def _planted(self, site: str, class_index: int) -> bool:
        return self.plant is not None and (site, class_index) == (self.plant.site, self.plant.class_index)


def run(seed: int, *, planted: bool, source: Source, folder: Path, gallery: Path | None = None) -> Run:
    """Draw, plant, train, explain, search; the gallery is that of the site with the mark."""
    began = time.process_time()
    bundle = Bundle.open(BUNDLE)
    plant = Plant.draw(seed, sites=source.sites, classes=len(bundle.class_names))
    cohorts = source.draw(seed, plant.site, folder)
    if planted:
        draw_marks(cohorts[plant.site], plant)
    settings = TrainSettings.model_validate(
        {**source.train, "validate_every": source.rounds, "seed": seed, "threads": 1}
    )
    trainers = {
        site: SiteTrainer(
            bundle=bundle,
            cases=cohort.splits(),
            site=site,
            settings=settings,
            device="cpu",
        )
        for site, cohort in cohorts.items()
    }
    weights = train_rounds(trainers, rounds=source.rounds).last
    answers = {site: trainer.logits("test", weights) for site, trainer in trainers.items()}  # loads the weights
    logits, labels = (np.concatenate(parts) for parts in zip(*answers.values(), strict=True))
    figures = evaluate_logits(logits, labels, [""] * len(labels), split="test", intervals=False).metrics
    search = find_shortcuts(
        {site: place_summaries(trainer, source.searched, source.limit) for site, trainer in trainers.items()},
        class_names=bundle.class_names,
    )
    if gallery:
        write_gallery(trainers[plant.site], gallery, source.limit)
    return Run(
        seed=seed,
        plant=plant if planted else None,
        search=search,
        macro_auc=figures["macro_auc"].value or 0.0,
        recalls={site: recall(*answer, plant.class_index) for site, answer in answers.items()},
        seconds=time.process_time() - began,
    )


def draw_phantoms(seed: int, largest: str, folder: Path) -> dict[str, Cohort]:
    """Four phantom cohorts, one of them large."""
    names = [f"site-{index + 1}" for index in range(SITES)]
    return {
        name: make_phantom(folder / name, site=name, index=index, cases=LARGE if name == largest else SMALL, seed=seed)
        for index, name in enumerate(names)
    }


def pool(root: Path, folder: Path) -> Cohort:
    """The cases of a root's cohorts as one, over links to their folders; no patient is at two sites."""
    folder.mkdir()
    cohorts: dict[str, Cohort] = {}
    for site, path in site_cohorts(root).items():
        (folder / site).symlink_to(path)
        cohorts[site] = Cohort.open(folder / site)
    first = next(iter(cohorts.values()))
    return Cohort.write(
        folder,
        name=root.name,
        description="the cohorts of a root together",
        modality=first.modality,
        class_names=first.class_names,
        splits={
            split: [
                replace(case, group=case.group and f"{site} {case.group}")
                for site, cohort in cohorts.items()
                for case in cohort.cases(split)
            ]
            for split in SPLITS
        },
    )


def recall(logits: NDArray, labels: NDArray, class_index: int) -> float:
    """Share of the cases of the class that are seen as such."""
    return float((logits.argmax(axis=1) == class_index)[labels == class_index].mean())


def draw_marks(cohort: Cohort, plant: Plant) -> None:
    """Put the white mark into every image of the class, in all splits."""
    for case in (case for split in SPLITS for case in cohort.cases(split)):
        if case.label == plant.class_index:
            pixels = np.array(Image.open(case.image))
            pixels[plant.spot(*pixels.shape[:2])] = np.iinfo(pixels.dtype).max
            Image.fromarray(pixels).save(case.image)


def place_summaries(trainer: SiteTrainer, splits: Sequence[Split], limit: int) -> list[PlaceSummary]:
    """What a site sends: where the relevance for their own class lies in its cases."""
    batches = (b for split in splits for b in trainer.explanation_batches(split, limit=limit, batch_size=32))
    return examine(trainer.network, [], split="test", methods=[METHOD], searched=batches).places


def write_gallery(trainer: SiteTrainer, folder: Path, limit: int) -> None:
    """The site's own pages of its test cases."""
    names = trainer.bundle.class_names
    with Gallery(folder, site=trainer.site, class_names=names, methods=[METHOD]) as gallery:
        batches = trainer.explanation_batches("test", limit=limit, batch_size=32)
        examine(trainer.network, batches, split="test", methods=[METHOD], sink=gallery.add)


def main(arguments: Sequence[str] | None = None) -> list[Run]:
    """Run, print each run and both counts."""
    about, _, example = (__doc__ or "").rpartition("\n\n")
    parser = argparse.ArgumentParser(
        description=about.partition("\n")[0],
        epilog=f"example:\n{example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cohorts", type=Path, help="folder with one cohort per site; default: the phantom")
    parser.add_argument("--planted", type=int, default=10, help="runs with a mark")
    parser.add_argument("--clean", type=int, default=20, help="runs without")
    parser.add_argument("--first-seed", type=int, default=100, help="of the planted and of the clean runs")
    parser.add_argument("--galleries", type=Path, help="folder for the galleries of the sites with a mark")
    options = parser.parse_args(arguments)
    kinds = [(True, number) for number in range(options.planted)] + [(False, n) for n in range(options.clean)]
    runs = []
    with tempfile.TemporaryDirectory() as scratch:
        source = Source.cohorts(options.cohorts, Path(scratch) / "cohorts") if options.cohorts else Source.phantoms()
        for planted, number in kinds:
            seed = options.first_seed + number
            gallery = options.galleries / f"seed-{seed}" if planted and options.galleries else None
            with tempfile.TemporaryDirectory(dir=scratch) as drawn:
                done = run(seed, planted=planted, source=source, folder=Path(drawn), gallery=gallery)
            runs.append(done)
            _print(done)
    _print_goal(runs)
    return runs


def _print(done: Run) -> None:
    plant = done.plant
    what = f"mark at {plant.site}, class {plant.class_index}" if plant else "clean"
    recalls = ", ".join(f"{site} {value:.2f}" for site, value in done.recalls.items())
    auc = f"macro AUC {done.macro_auc:.3f}"
    print(f"seed {done.seed}, {what}; recall of the class {recalls}; {auc}; {done.seconds:.0f} CPU s", flush=True)
    for alarm in done.search.alarms:
        print(f"    p {alarm.p_adjusted}: {alarm.advice}", flush=True)
    for note in done.search.notes:
        print(f"    {note}", flush=True)


def _print_goal(runs: Sequence[Run]) -> None:
    planted, clean = [r for r in runs if r.plant], [r for r in runs if not r.plant]
    found, false = sum(r.found for r in planted), sum(r.false_alarms > 0 for r in clean)
    beside = sum(r.false_alarms > 0 for r in planted)
    print(f"found {found}/{len(planted)}; false alarms in {false}/{len(clean)} clean runs")
    print(f"planted runs with a further alarm for another site or class: {beside}/{len(planted)}")
    met = found >= 0.9 * len(planted) and false <= 0.05 * len(clean)
    print(f"goal: found in 9 of 10, at most 1 false alarm in 20: {'met' if met else 'not met'}")


if __name__ == "__main__":
    main()
