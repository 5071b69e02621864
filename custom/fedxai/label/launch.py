# SPDX-License-Identifier: Apache-2.0
"""Starts the server: a private state folder, MONAI Label's environment, then uvicorn in this process."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from fedxai.errors import RunError
from fedxai.label.settings import ServerSettings

# MONAI Label looks for a class of the app in main.py of a folder, and writes its logs and models beside it: not into
# this package, so the folder is made in the server's state. Training and scoring processes import this file alone.
_MAIN = '''"""Made by `fedxai label serve`: the app that MONAI Label loads."""

from fedxai.label import shims

shims.apply()
from fedxai.label.app.main import FedxaiLabelApp  # noqa: E402, F401
'''


def serve(settings: ServerSettings) -> None:
    """Serve until a signal ends the process.

    Raises:
        RunError: when the studies or the app are missing.
        FedxaiError: when the app refuses the model.
    """
    import uvicorn

    prepare(settings)
    from fedxai.label.server import application, load_app

    served = application(settings)
    load_app()  # before uvicorn: what the app refuses, for instance the model, is then said in one sentence
    os.chdir(settings.state / "work")  # MONAI Label takes a name that exists in the working folder for a file's
    uvicorn.run(
        served,
        host=settings.host,
        port=settings.port,
        log_config=log_config(settings),
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=8 * settings.bounds.requests,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=30,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
    )


def prepare(settings: ServerSettings) -> Path:
    """Make the state folder and set what MONAI Label reads from its environment when it is imported.

    Returns:
        The app's folder.

    Raises:
        RunError: when the folder of studies or of the app does not exist.
    """
    if not settings.archive and not Path(settings.studies).is_dir():
        raise RunError(f"--studies must name a folder, got {Path(settings.studies).name!r}, which is none")
    folder = app_folder(settings)
    temporary = settings.state / "tmp"
    for part in ("tmp", "work", "logs", "sessions"):
        (settings.state / part).mkdir(mode=0o700, exist_ok=True)
    studies = settings.studies if settings.archive else str(Path(settings.studies).resolve())
    os.environ.update(
        PATH=search_path(),
        TMPDIR=str(temporary),  # what is uploaded lies in the server's own folder, not in everybody's
        PYTHONPATH=os.pathsep.join(part for part in (os.environ.get("PYTHONPATH"), str(folder)) if part),
        MONAI_LABEL_APP_DIR=str(folder),
        MONAI_LABEL_STUDIES=studies,
        MONAI_LABEL_APP_CONF=json.dumps({**settings.conf, "model": settings.model}),
        MONAI_LABEL_SERVER_PORT=str(settings.port),
        MONAI_LABEL_AUTO_UPDATE_SCORING="false",  # else a scoring process at the start, and 429 until it ends
        MONAI_LABEL_SESSION_PATH=str(settings.state / "sessions"),
    )
    os.environ.setdefault("MONAI_LABEL_DICOMWEB_CACHE_EXPIRY", "1")  # else a new study shows after two hours
    os.environ.setdefault("MONAI_LABEL_DICOMWEB_CACHE_PATH", str(settings.state / "archive"))
    return folder


def search_path() -> str:
    """Where programs are looked for: this environment's own too, which need not be activated to serve."""
    return os.pathsep.join((os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)))


def log_config(settings: ServerSettings) -> dict[str, Any]:
    """Logs of the server: requests without ids in ``logs/access.log``, warnings and errors in the app's log.

    MONAI Label's own way is to log every request with the names of images in it; here it speaks up only to warn.
    """
    rotating = {"class": "logging.handlers.RotatingFileHandler", "maxBytes": 10 * 2**20, "backupCount": 5}
    line = {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}
    app = str(app_folder(settings) / "logs" / "app.log")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": line, "access": {"format": "%(asctime)s %(message)s"}},
        "handlers": {
            "console": {"class": "logging.StreamHandler", "formatter": "line"},
            "app": {**rotating, "filename": app, "formatter": "line"},
            "access": {**rotating, "filename": str(settings.state / "logs" / "access.log"), "formatter": "access"},
        },
        "root": {"level": "WARNING", "handlers": ["console", "app"]},
        "loggers": {
            "uvicorn": {"level": "INFO", "handlers": ["console"], "propagate": False},
            "fedxai.label.access": {"level": "INFO", "handlers": ["access"], "propagate": False},
            **{
                f"task_{kind}": {"level": "INFO", "handlers": ["app"], "propagate": False}
                for kind in ("train", "scoring", "batch_infer")
            },
        },
    }


def app_folder(settings: ServerSettings) -> Path:
    """The folder that MONAI Label loads the app from; made where the app is this package's.

    Raises:
        RunError: when another app was named and has no ``main.py``.
    """
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = settings.app or settings.state / "app"
    if settings.app and not (settings.app / "main.py").is_file():
        raise RunError(f"--app must name a folder with main.py, got {settings.app.name!r}")
    for part in ("model", "lib", "logs", "bin"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    if not settings.app:
        (folder / "main.py").write_text(_MAIN, encoding="utf-8")
    return folder.resolve()
