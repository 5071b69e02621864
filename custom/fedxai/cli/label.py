# SPDX-License-Identifier: Apache-2.0
"""The `fedxai label` commands: the server that radiologists reach from 3D Slicer and OHIF, and what goes with it."""

import importlib
import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from fedxai.errors import SettingsError

app = typer.Typer(no_args_is_help=True, help="Serve studies, predictions and saliency to 3D Slicer and OHIF.")

STATE = Annotated[Path | None, typer.Option(help="Folder of tokens, logs and temporary files; default: the user's.")]


@app.command()
def serve(
    model: Annotated[str, typer.Option(help="Folder of a run, or a bundle with weights, by folder or name.")],
    studies: Annotated[Path | None, typer.Option(help="Folder of NIfTI, DICOM, NRRD or PNG studies.")] = None,
    dicomweb: Annotated[str | None, typer.Option(help="URL of a DICOMweb archive instead of a folder.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    auth: Annotated[str, typer.Option(help="token: every request needs one; none: only on loopback.")] = "token",
    state: STATE = None,
    conf: Annotated[list[str] | None, typer.Option(help="Further setting of the app, NAME=VALUE; repeatable.")] = None,
    app_folder: Annotated[Path | None, typer.Option("--app", help="Another MONAI Label app.", hidden=True)] = None,
) -> None:
    """Serve studies with a model's predictions and saliency, until the command is interrupted.

    Example: `fedxai label serve --studies STUDIES --model RUN`
    """
    from fedxai.label.launch import serve
    from fedxai.label.settings import ServerSettings
    from fedxai.settings import checked

    if (studies is None) == (dicomweb is None):
        raise SettingsError("name what is served: either --studies DIR or --dicomweb URL")
    given = {
        "studies": str(studies or dicomweb),
        "model": str(Path(model).resolve()) if Path(model).is_dir() else model,
        "host": host,
        "port": port,
        "auth": auth,
        "conf": dict(_pair(text) for text in conf or ()),
        "app": app_folder,
        **({"state": state} if state else {}),
    }
    serve(checked(ServerSettings, given, what="fedxai label serve"))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SettingsError(f"--conf must be NAME=VALUE, got {text!r}")
    return name, value


if importlib.util.find_spec("fedxai.cli.label_feedback"):
    importlib.import_module("fedxai.cli.label_feedback").register(app)
