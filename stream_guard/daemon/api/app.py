"""The app put together."""

from __future__ import annotations

import threading

from fastapi import FastAPI

from ... import __version__
from ..control import Control
from ..settings import DaemonSettings
from . import probes


def create_app(control: Control, settings: DaemonSettings) -> FastAPI:
    """The ASGI app that serves `control`. Raises ConfigError where anybody could reach it without a token."""
    app = FastAPI(title="Stream Guard", version=__version__, docs_url=None, redoc_url=None)
    app.state.control, app.state.settings = control, settings
    app.state.ending = threading.Event()
    app.include_router(probes.router)
    return app
