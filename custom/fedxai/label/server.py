# SPDX-License-Identifier: Apache-2.0
"""The ASGI application that a site serves: MONAI Label's own, behind what guards it."""

from typing import TYPE_CHECKING

from fedxai.label import shims

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from fedxai.label.settings import ServerSettings


def application(settings: "ServerSettings") -> "ASGIApp":
    """MONAI Label's application for these settings; the process's environment is set before (``launch.prepare``)."""
    del settings
    shims.apply()
    from monailabel.app import app

    return app
