"""The HTTP API under /v1, the probes, the metrics and the operator's page."""

from .app import create_app, describe
from .server import Server, serve_app

__all__ = ["Server", "create_app", "describe", "serve_app"]
