"""The app put together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from ... import __version__
from ..control import Control
from ..settings import DaemonSettings, Token
from . import about, answers, events, jobs, page, probes, streams
from .access import check_listening
from .guard import Guard

DESCRIPTION = "Protect live streams and video files against deepfake models. docs/api.md has examples."


def create_app(
    control: Control, settings: DaemonSettings, tokens: Callable[[], tuple[Token, ...]] | None = None
) -> FastAPI:
    """The ASGI app that serves `control`. Raises ConfigError where anybody could reach it without a token.

    `tokens` are those of the moment, where they change while it serves. Ingest hooks are routed below /hooks/: there
    the guard checks sizes and hosts only, and asks for no token.
    """
    check_listening(settings.http)
    app = _assembled()
    app.state.control = control
    app.state.tokens = tokens or (lambda: settings.http.tokens)
    app.state.ending = threading.Event()
    app.state.listeners = threading.BoundedSemaphore(events.MOST_LISTENERS)
    app.add_middleware(Guard, http=settings.http, tokens=app.state.tokens)
    return app


def describe() -> dict[str, Any]:
    """The OpenAPI document, as /v1/openapi.json shows it."""
    return _assembled().openapi()


def _assembled() -> FastAPI:
    app = FastAPI(
        title="Stream Guard",
        version=__version__,
        description=DESCRIPTION,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # its page loads scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,  # behind a proxy that ends TLS it would lead to http://
        default_response_class=answers.Answer,
        responses=answers.DOCUMENTED,
    )
    answers.install(app)
    for part in (streams, jobs, events, about, probes, page):
        app.include_router(part.router)
    return app
