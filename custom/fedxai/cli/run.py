# SPDX-License-Identifier: Apache-2.0
"""The `fedxai run` and `fedxai compare` commands."""

from pathlib import Path
from typing import Annotated

import typer

JOB = Annotated[Path, typer.Argument(help="FLARE job folder, for instance jobs/fedxai.")]
COHORTS = Annotated[Path | None, typer.Option(help="Folder with one cohort per site; default: the phantom.")]
BUNDLE = Annotated[str | None, typer.Option(help="MONAI bundle, by name; default: the job's own.")]
ROUNDS = Annotated[int | None, typer.Option(min=1, help="Federated rounds; default: the job's own.")]
GUIDANCE = Annotated[
    list[str] | None,
    typer.Option(help="Reward looking at the regions: relevance, energy, occlusion; repeat them."),
]
EPOCHS = Annotated[int, typer.Option(min=1, help="Passes over a site's training cases in a round.")]
STEPS = Annotated[int | None, typer.Option(min=1, help="Optimisation steps of a site in a round, instead of passes.")]
MIXED = Annotated[bool, typer.Option("--mixed-precision", help="Train in bfloat16, where the device is fast at it.")]
VALIDATE = Annotated[
    int | None, typer.Option(min=1, help="Rounds from one validation of the global model to the next; default: 1.")
]
KEY = Annotated[
    str | None,
    typer.Option(
        help="Validation metric that chooses the best model, for instance accuracy where sites lack classes and so "
        "have no macro_auc; default: the job's own."
    ),
]
BATCH = Annotated[int | None, typer.Option(min=1, help="Cases a step; default: the bundle's own.")]


def run(
    job: JOB,
    out: Annotated[Path, typer.Option(help="New folder of the run; with --resume, the folder of an interrupted one.")],
    cohorts: COHORTS = None,
    bundle: BUNDLE = None,
    rounds: ROUNDS = None,
    local_epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over a site's cases in a round; default: the job's own.")
    ] = None,
    local_steps: STEPS = None,
    batch_size: BATCH = None,
    mixed_precision: MIXED = False,
    validate_every: VALIDATE = None,
    key_metric: KEY = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Sites at work at a time; default: all.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, shuffling and augmentation.")] = 0,
    guidance: GUIDANCE = None,
    model: Annotated[
        str | None, typer.Option(help="Run, or bundle with weights, that is explained (jobs/explain_only).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after the last finished round of the interrupted run in --out.")
    ] = False,
) -> None:
    """Run a federated job in FLARE's simulator, one simulated site per cohort, with a progress bar.

    Example: `fedxai run jobs/fedxai --cohorts COHORTS --rounds 10 --out RUN`

    After a crash: the same line with `--resume`. Settings, bundle and cohorts must be the same.
    """
    from rich.console import Console
    from rich.progress import Progress

    from fedxai.flare.simulate import run_job
    from fedxai.records import RunSummary
    from fedxai.report.console import print_summary

    settings = {
        "bundle": bundle,
        "num_rounds": rounds,
        "seed": seed,
        "validate_every": validate_every,
        "key_metric": key_metric,
        "resume": resume or None,
        **_given(model),
    }
    train = {
        "seed": seed,
        "local_epochs": local_epochs,
        "local_steps": local_steps,
        "batch_size": batch_size,
        "mixed_precision": mixed_precision or None,
        "guidance": _guidance(guidance),
    }
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("starting the sites", total=None)

        def show(done: int, total: int, line: str) -> None:
            progress.update(bar, completed=done, total=total, description=f"round {done} of {total}")
            progress.console.print(line, highlight=False)

        results = run_job(
            job,
            out=out,
            cohorts=cohorts,
            threads=threads,
            settings={name: value for name, value in settings.items() if value is not None},
            train={name: value for name, value in train.items() if value is not None},
            on_progress=show,
        )
    summary = RunSummary.model_validate_json((results / "summary.json").read_text(encoding="utf-8"))
    print_summary(summary, results / "report.html")


def compare(
    cohorts: Annotated[Path, typer.Option(help="Folder with one cohort per site.")],
    bundle: Annotated[str, typer.Option(help="MONAI bundle, by name.")],
    out: Annotated[Path, typer.Option(help="Folder of the results; an interrupted comparison goes on there.")],
    rounds: Annotated[int, typer.Option(min=1, help="Federated rounds.")] = 10,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 3,
    local_epochs: EPOCHS = 1,
    local_steps: STEPS = None,
    batch_size: BATCH = None,
    mixed_precision: MIXED = False,
    validate_every: VALIDATE = None,
    guidance: GUIDANCE = None,
    key_metric: KEY = None,
    job: Annotated[Path, typer.Option(help="The FLARE job that is FedXAI-Med.")] = Path("jobs/fedxai"),
) -> None:
    """Compare centralised, local-only, plain federated and FedXAI-Med: same steps, seeds and test cases.

    Example: `fedxai compare --cohorts COHORTS --bundle brain_mri_tumor_classification --rounds 10 --out DIR`
    """
    from rich.console import Console
    from rich.progress import Progress

    from fedxai.bundle import Bundle
    from fedxai.flare.comparison import SystemsComparison
    from fedxai.report.comparison import write_comparison
    from fedxai.settings import TrainSettings, checked

    train = {
        "local_epochs": local_epochs,
        "local_steps": local_steps,
        "batch_size": batch_size,
        "mixed_precision": mixed_precision,
        "validate_every": validate_every or 1,
        "guidance": _guidance(guidance) or {},
    }
    comparison = SystemsComparison(
        cohorts=cohorts,
        bundle=Bundle.open(bundle),
        job=job,
        rounds=rounds,
        train=checked(TrainSettings, train, what="train"),
        key_metric=key_metric,
        out=out,
    )
    # the time left rests on the rounds of the last day: rich would forget those of more than 30 seconds ago
    with Progress(console=Console(stderr=True), speed_estimate_period=86_400) as progress:
        bar = progress.add_task("starting", total=None)

        def show(done: int, total: int, step: str) -> None:
            progress.update(bar, completed=done, total=total, description=step)

        results = comparison.run(seeds, on_progress=show)
    typer.echo(f"comparison: {write_comparison(results, out)}")


def _given(model: str | None) -> dict[str, str]:
    """The settings that name a trained model, and the bundle that it is of."""
    from fedxai.bundle.trained import find_trained

    if model is None:
        return {}
    bundle = find_trained(model, "best").bundle
    return {"bundle": bundle.name, "model": str(bundle.path)}


def _guidance(terms: list[str] | None) -> dict[str, list[str]] | None:
    """The job's guidance setting, checked before anything starts.

    Raises:
        SettingsError: when a term is unknown.
    """
    from fedxai.settings import GuidanceSettings, checked

    if not terms:
        return None
    checked(GuidanceSettings, {"terms": terms}, what="--guidance")
    return {"terms": terms}
