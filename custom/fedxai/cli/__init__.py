# SPDX-License-Identifier: Apache-2.0
"""Where a person calls us: the ``fedxai`` command. Nothing heavy is imported before a command runs."""

import signal
import sys

import typer

from fedxai import __version__
from fedxai.cli import bundle, cohort, deploy, doctor, explain, intake, job, label, ledger, run, survey, watch
from fedxai.errors import FedxaiError

app = typer.Typer(
    name="fedxai",
    help="Federated, explainable medical imaging on NVIDIA FLARE and MONAI.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.add_typer(intake.app, name="intake")
app.add_typer(cohort.app, name="cohort")
app.add_typer(ledger.app, name="ledger")
app.add_typer(bundle.app, name="bundle")
app.command()(run.run)
app.command()(run.compare)
app.command()(survey.survey)
app.command()(explain.explain)
app.add_typer(deploy.app, name="deploy")
app.add_typer(job.app, name="job")
app.add_typer(label.app, name="label")
app.command()(watch.watch)
app.command()(doctor.doctor)


@app.command()
def version() -> None:
    """Print the version.

    Example: `fedxai version`
    """
    typer.echo(__version__)


def main() -> None:
    """Run a command; what this package refuses is one sentence on standard error and exit code 1."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what a command started is ended with it
    try:
        app()
    except FedxaiError as error:
        typer.echo(f"fedxai: {error}", err=True)
        sys.exit(1)
