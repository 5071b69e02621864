# SPDX-License-Identifier: Apache-2.0
"""The `fedxai cohort` commands."""

import typer

app = typer.Typer(no_args_is_help=True)
