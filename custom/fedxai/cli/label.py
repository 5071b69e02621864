# SPDX-License-Identifier: Apache-2.0
"""The `fedxai label` commands: the server that radiologists reach from 3D Slicer and OHIF, and what goes with it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedxai.cli.label_feedback import ALLOW, register
from fedxai.errors import SettingsError

if TYPE_CHECKING:
    from fedxai.label.settings import ServerSettings

app = typer.Typer(no_args_is_help=True, help="Serve studies, predictions and saliency to 3D Slicer and OHIF.")

STATE = Annotated[Path | None, typer.Option(help="Folder of tokens, logs and temporary files; default: the user's.")]
MODEL = Annotated[str, typer.Option(help="Folder of a run, or a bundle with weights, by folder or name.")]
STUDIES = Annotated[Path | None, typer.Option(help="Folder of NIfTI, NRRD, PNG or JPEG images, or of DICOM series.")]
DICOMWEB = Annotated[str | None, typer.Option(help="URL of a DICOMweb archive instead of a folder.")]
HOST = Annotated[str, typer.Option(help="Address to listen on; beyond loopback with TLS only.")]
PORT = Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")]
SITE = Annotated[Path | None, typer.Option(help="The site's local/ folder, whose list says which bundles may run.")]
AUTH = Annotated[str, typer.Option(help="token: every request needs one; none: only on loopback.")]


@app.command()
def serve(
    model: MODEL,
    studies: STUDIES = None,
    dicomweb: DICOMWEB = None,
    host: HOST = "127.0.0.1",
    port: PORT = 8000,
    auth: AUTH = "token",
    openid_issuer: Annotated[str | None, typer.Option(help="Identity provider whose tokens are taken as well.")] = None,
    openid_audience: Annotated[str, typer.Option(help="What the provider calls this server.")] = "fedxai-label",
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate (PEM).")] = None,
    key: Annotated[Path | None, typer.Option(help="Key of the TLS certificate (PEM).")] = None,
    name: Annotated[list[str] | None, typer.Option(help="Host name by which people reach it; repeatable.")] = None,
    origin: Annotated[list[str] | None, typer.Option(help="Web page that may call it, https://host.")] = None,
    open_: Annotated[list[str] | None, typer.Option("--open", help="Opens docs, reload or model for admins.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Cases predicted or explained at a time.")] = 1,
    upload_mb: Annotated[int, typer.Option(min=1, help="Largest request in MB.")] = 512,
    unpacked_mb: Annotated[int, typer.Option(min=1, help="Largest image in MB once it is unpacked.")] = 2048,
    allow_burned_in: ALLOW = False,
    site: SITE = None,
    state: STATE = None,
    conf: Annotated[list[str] | None, typer.Option(help="Further setting of the app, NAME=VALUE; repeatable.")] = None,
    app_folder: Annotated[Path | None, typer.Option("--app", help="Another MONAI Label app.", hidden=True)] = None,
) -> None:
    """Serve studies with a model's predictions and saliency, until the command is interrupted.

    Example: `fedxai label serve --studies STUDIES --model RUN`

    Everybody needs a token of `fedxai label token`. Behind a reverse proxy that does TLS, stay on loopback and give
    the host name of the proxy with `--name`.
    """
    _ask_for_the_extra()
    from fedxai.label.launch import serve

    openid = {"issuer": openid_issuer, "audience": openid_audience} if openid_issuer else None
    settings = _settings(
        _studies(studies, dicomweb),
        model,
        state,
        host=host,
        port=port,
        auth=auth,
        openid=openid,
        certificate=certificate and certificate.resolve(),
        key=key and key.resolve(),
        names=tuple(name or ()),
        origins=tuple(origin or ()),
        open=tuple(open_ or ()),
        bounds={"workers": workers, "upload": upload_mb * 2**20, "unpacked": unpacked_mb * 2**20},
        conf={
            **({"site": str(site.resolve())} if site else {}),
            **({"allow_burned_in": "true"} if allow_burned_in else {}),
            **dict(_pair(text) for text in conf or ()),
        },
        app=app_folder,
    )
    serve(settings)


@app.command()
def token(
    name: Annotated[str | None, typer.Option(help="Whose token; stands beside what the person draws.")] = None,
    role: Annotated[str, typer.Option(help="reader, annotator or admin.")] = "reader",
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days until the token ends.")] = 90,
    revoke: Annotated[bool, typer.Option("--revoke", help="End the person's token instead.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="Show whose tokens there are, and until when.")] = False,
    state: STATE = None,
) -> None:
    """Issue a token to a person and print it, this once; an earlier one of the person ends.

    Example: `fedxai label token --name "Dr Rahman" --role annotator`

    In 3D Slicer and in a browser, the name is the user name and the token the password.
    """
    _ask_for_the_extra()
    from fedxai.label.access_tokens import TOKEN_FILE, TokenFile
    from fedxai.label.settings import default_state

    tokens = TokenFile((state or default_state()) / TOKEN_FILE)
    if listed:
        for one in tokens.issued():
            typer.echo(f"{one.name}\t{one.role}\tuntil {one.until:%Y-%m-%d}")
    elif name is None:
        raise SettingsError("say whose token with --name, or show all with --list")
    elif revoke:
        tokens.revoke(name)
        typer.echo(f"ended: {name}")
    else:
        typer.echo(tokens.issue(name, role, days=days))


@app.command()
def doctor(
    model: MODEL,
    studies: STUDIES = None,
    dicomweb: DICOMWEB = None,
    host: HOST = "127.0.0.1",
    port: PORT = 8000,
    auth: AUTH = "token",
    site: SITE = None,
    state: STATE = None,
) -> None:
    """Preflight of `fedxai label serve`: everything green, or one remedy for each thing that is not.

    Example: `fedxai label doctor --studies STUDIES --model RUN`
    """
    _ask_for_the_extra()
    from fedxai.bundle.trained import find_trained
    from fedxai.cli.doctor import show
    from fedxai.label.doctor import examine

    # Beyond loopback TLS is needed to serve, not to look whether the rest is in order.
    asked = _settings(_studies(studies, dicomweb), model, state, port=port, auth=auth).model_copy(update={"host": host})
    findings = examine(asked, lambda: find_trained(model, "best").bundle, site=site)
    raise typer.Exit(0 if show("fedxai label serve", findings) else 1)


def _studies(studies: Path | None, dicomweb: str | None) -> str:
    if (studies is None) == (dicomweb is None):
        raise SettingsError("name what is served: either --studies DIR or --dicomweb URL")
    return dicomweb or str(studies)


def _settings(studies: str, model: str, state: Path | None, **more: Any) -> "ServerSettings":
    from fedxai.label.settings import ServerSettings
    from fedxai.settings import checked

    given = {"studies": studies, "model": str(Path(model).resolve()) if Path(model).is_dir() else model, **more}
    return checked(
        ServerSettings, {**given, **({"state": state.resolve()} if state else {})}, what="fedxai label serve"
    )


def _ask_for_the_extra() -> None:
    from fedxai.label.shims import check_installed

    check_installed()


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SettingsError(f"--conf must be NAME=VALUE, got {text!r}")
    return name, value


register(app)
