# SPDX-License-Identifier: Apache-2.0
"""The `fedxai explain` command: where a trained model looks, shown and scored inside the site."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from fedxai.bundle import Bundle
    from fedxai.bundle.trained import Trained
    from fedxai.intake.cohort import Cohort
    from fedxai.records import Case, Explanation, Split
    from fedxai.report.explained_folder import ExplainedFolder
    from fedxai.train.engine import SiteTrainer


class SplitName(str, Enum):
    """The splits of a cohort."""

    training = "training"
    validation = "validation"
    test = "test"


class Which(str, Enum):
    """The models that a run leaves."""

    best = "best"
    last = "last"


def explain(
    model: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_BUNDLE", help="Folder of a run, or a bundle with weights.", show_default=False),
    ],
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="The site's cohort.")],
    out: Annotated[Path, typer.Option(help="New folder; it never leaves the site.")],
    methods: Annotated[
        str | None,
        typer.Option(
            help="'all', or names with commas; default: those of the bundle's explain.json. With _mean or _blurred "
            "at its end, occlusion, kernel_shap and integrated_gradients compare with that instead of black; all has "
            "these too."
        ),
    ] = None,
    split: Annotated[SplitName, typer.Option(help="Which cases.")] = SplitName.test,
    which: Annotated[Which, typer.Option(help="Which model of a run.")] = Which.best,
    cases: Annotated[int | None, typer.Option(min=1, help="At most so many, spread over the split.")] = None,
    trust_cases: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Cases of the trust tests and the honesty battery, the slowest part; of a segmentation so many of "
            "each class; 0: none.  [default: 16; of a segmentation 4]",
            show_default=False,
        ),
    ] = None,
    gallery: Annotated[int, typer.Option(min=1, help="Cases shown in the gallery.")] = 24,
    save_maps: Annotated[
        bool, typer.Option("--save-maps", help="Also write every map as NIfTI, in 2D as PNG.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Cases in one pass.")] = 16,
    device: Annotated[str, typer.Option(help="cpu, cuda ...; auto: a GPU where there is one.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of what is drawn: intervals, trust tests.")] = 0,
) -> None:
    """Show and score where a trained model looks on a site's own cases: maps, scores, gallery.

    Example: `fedxai explain RUN cohorts/site-1 --methods saliency,grad_cam --out DIR`
    """
    from fedxai.bundle.trained import find_trained
    from fedxai.errors import SettingsError
    from fedxai.intake.cohort import Cohort
    from fedxai.report.console import print_explanation
    from fedxai.report.explained_folder import ExplainedFolder
    from fedxai.report.gallery import Gallery
    from fedxai.report.reading import explained_quantity

    out = out.resolve()  # of a link, what it leads to
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SettingsError(f"--out must be a new or empty folder, got {out.name!r}, which holds something")
    if out == Path.cwd() or out.is_mount():  # what is made beside it takes its place at the end
        raise SettingsError(f"--out must be a folder that can be replaced, got {out.name!r}; name a new one inside it")
    shown = cast("Split", split.value)
    trained, opened = find_trained(model, which.value), Cohort.open(cohort)
    asked = _asked(methods, trained)
    chosen = _chosen(opened, shown, cases)
    trainer = _trainer(trained, opened, device)
    background = _background(trainer, asked, explained=chosen)
    trainer.cases[shown] = chosen
    answering = _answering(trainer, shown, asked, background)
    shown_cases = Gallery(
        out,
        site=opened.folder.name,
        class_names=trained.bundle.class_names,
        methods=answering,
        images=trainer.explained_images(shown, limit=len(chosen), root=opened.folder),
        by_class=trained.bundle.task == "segmentation",
        limit=gallery,
    )
    with ExplainedFolder(shown_cases, save_maps=save_maps) as folder:
        explanation = _examined(
            trainer,
            folder,
            shown,
            batch_size=batch_size,
            methods=answering,
            background=background,
            trust_cases=_trust_cases(trust_cases, trained.bundle),
            seed=seed,
        )
        left_out = [name for name in asked if name not in answering]
        explanation = explanation.model_copy(update={"left_out": left_out})
        question = trained.bundle.question
        folder.conclude(explanation, explained=explained_quantity(trained.bundle.task, question["target_class"]))
    print_explanation(explanation, out / "index.html", class_names=trained.bundle.class_names)


def _trust_cases(asked: int | None, bundle: "Bundle") -> int:
    """As many as asked for; a volume is asked some two hundred times, so by default fewer of a segmentation."""
    return asked if asked is not None else (16 if bundle.task == "classification" else 4)


def _asked(methods: str | None, trained: "Trained") -> list[str]:
    """The methods' names, each known."""
    from fedxai.errors import SettingsError
    from fedxai.explain import METHODS

    if methods is None:
        names = trained.bundle.explain.methods
    else:
        every = sorted(METHODS.names)  # each method before its variants
        names = every if methods == "all" else [name.strip() for name in methods.split(",") if name.strip()]
    if not names:
        raise SettingsError(f"--methods must name at least one of {', '.join(sorted(METHODS.names))}, got {methods!r}")
    for name in names:
        METHODS.make(name)
    return list(dict.fromkeys(names))


def _chosen(cohort: "Cohort", split: "Split", limit: int | None) -> "list[Case]":
    """At most ``limit`` cases, spread evenly over the split."""
    from fedxai.errors import CohortError
    from fedxai.intake.evenly import evenly

    listed = cohort.cases(split)
    if not listed:
        raise CohortError(f"{cohort.folder.name}: the {split} split must hold at least one case, got none")
    return evenly(listed, limit or len(listed))


def _trainer(trained: "Trained", cohort: "Cohort", device: str) -> "SiteTrainer":
    """The site's engine over its cohort, with the trained weights in its network."""
    import torch

    from fedxai.errors import BundleError, SettingsError
    from fedxai.settings import TrainSettings
    from fedxai.train.engine import SiteTrainer
    from fedxai.train.prepare import check_classes

    bundle = trained.bundle
    check_classes(cohort.class_names, bundle, whose=cohort.folder.name)
    try:
        torch.zeros(1, device="cpu" if device == "auto" else device).item()  # meta holds nothing to answer with
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"--device must be a device of this machine or auto, got {device!r}") from error
    trainer = SiteTrainer(
        bundle=bundle,
        cases=cohort.splits(),
        site=cohort.folder.name,
        settings=TrainSettings(cache_cases=0),  # pyright: ignore[reportCallIssue]
        device=device,
    )
    try:
        trainer.load({name: tensor.numpy() for name, tensor in trained.weights.items()})
    except RuntimeError as error:
        raise BundleError(f"the weights of bundle {bundle.name} don't fit its network; export it again") from error
    return trainer


def _background(trainer: "SiteTrainer", asked: list[str], *, explained: "list[Case]") -> "Tensor | None":
    """Training images to compare with, none of them explained; None where no method compares or none is left."""
    from fedxai.explain import METHODS

    with _readable(trainer, "training"):
        background = trainer.background(asked, apart_from=explained)
    comparing = [name for name in asked if METHODS.make(name).needs_background]
    if comparing and background is None:
        names = ", ".join(comparing)
        typer.echo(f"Note: {names} must compare with training cases that are not explained, got none", err=True)
    return background


def _answering(trainer: "SiteTrainer", split: "Split", asked: list[str], background: "Tensor | None") -> list[str]:
    """Those methods that can explain this network, tried on one case; of each other one it is said why not."""
    with _readable(trainer, split):
        able, refused = trainer.answering(asked, split, background)
    for name, reason in refused.items():
        typer.echo(f"Note: {name} is left out: {reason}", err=True)
    return able


def _examined(
    trainer: "SiteTrainer",
    folder: "ExplainedFolder",
    split: "Split",
    *,
    batch_size: int,
    trust_cases: int,
    **ask: Any,
) -> "Explanation":
    """Explain and score the cases batch by batch, with a progress bar; each goes into the folder as it comes."""
    from rich.console import Console
    from rich.progress import Progress

    from fedxai.score.examine import ExaminedCase, examine

    cases, together = len(trainer.cases[split]), trainer.bundle.questions
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("explaining", total=cases * together)

        def keep(case: ExaminedCase) -> None:
            folder.add(case)
            progress.update(bar, advance=1, description=f"explaining {case.index // together + 1} of {cases}")
            if case.index + 1 == cases * together and trust_cases:
                progress.update(bar, total=None, description="running the trust tests")

        return examine(
            trainer.asked_network,
            _prepared(trainer, split, limit=cases, batch_size=batch_size),
            split=split,
            **trainer.bundle.question,
            sink=keep,
            trust_cases=trust_cases,
            honesty_cases=trust_cases,
            **ask,
        )


def _prepared(trainer: "SiteTrainer", split: "Split", *, limit: int, batch_size: int) -> Iterator[dict[str, Any]]:
    """The engine's batches."""
    with _readable(trainer, split):
        yield from trainer.explanation_batches(split, limit=limit, batch_size=batch_size)


@contextmanager
def _readable(trainer: "SiteTrainer", split: "Split") -> Iterator[None]:
    """A file that MONAI cannot read or prepare is one sentence."""
    from fedxai.errors import CohortError

    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise CohortError(
            f"{trainer.site}: a file of the {split} split cannot be prepared for the network; see `fedxai cohort check`"
        ) from error
