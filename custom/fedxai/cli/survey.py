# SPDX-License-Identifier: Apache-2.0
"""The `fedxai survey` command."""

from pathlib import Path
from typing import Annotated

import typer


def survey(
    job: Annotated[Path, typer.Argument(help="FLARE job folder: jobs/survey, or one made from it.")],
    out: Annotated[Path, typer.Option(help="New folder of the survey.")],
    cohorts: Annotated[Path | None, typer.Option(help="Folder with one cohort per site; default: the phantom.")] = None,
    bundle: Annotated[str | None, typer.Option(help="MONAI bundle, by name; default: the job's own.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Sites at work at a time; default: all.")] = None,
) -> None:
    """Ask every site what its data are like, without training, and propose one preprocessing for all.

    Example: `fedxai survey jobs/survey --cohorts COHORTS --out SURVEY`
    """
    from rich.console import Console

    from fedxai.flare.simulate import SURVEY, run_job
    from fedxai.records_statistics import DataSurvey
    from fedxai.report.survey import print_survey

    with Console(stderr=True).status("asking the sites"):
        results = run_job(
            job, out=out, cohorts=cohorts, threads=threads, settings={"bundle": bundle} if bundle else None
        )
    print_survey(DataSurvey.model_validate_json((results / SURVEY).read_text(encoding="utf-8")), results)
