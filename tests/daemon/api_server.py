"""What the tests of the API share: the real server on a free port of loopback, over the pretended daemon."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from stream_guard.daemon.api import Server, create_app, serve_app
from stream_guard.daemon.settings import DaemonSettings, Http, Token
from tests.support.control_fake import FakeControl

READ, WRITE = "token-that-reads", "token-that-writes"
TOKENS = tuple(
    Token(name=role, role=role, sha256=hashlib.sha256(token.encode()).hexdigest())  # type: ignore[arg-type]
    for role, token in (("read", READ), ("write", WRITE))
)
KEY = "sk-9f2c4d71"
"""A stream key that must never come back."""


@dataclass(frozen=True)
class Running:
    control: FakeControl
    server: Server
    http: httpx.Client

    def start(self, name: str = "studio", **more: Any) -> httpx.Response:
        return self.http.post("/v1/streams", json={"name": name, "source": "rtmp://host/live/x", **more})


@contextmanager
def running(
    control: FakeControl | None = None,
    token: str = "",
    current: Callable[[], tuple[Token, ...]] | None = None,
    **http: Any,
) -> Iterator[Running]:
    """The API being served; `http` holds settings of the section of that name, `current` gives tokens that change."""
    control = control or FakeControl()
    settings = DaemonSettings(http=Http(**{"port": 0, **http}))
    with serve_app(create_app(control, settings, current), settings.http) as server:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with httpx.Client(base_url=server.url, headers=headers, timeout=30, trust_env=False) as client:
            yield Running(control, server, client)
        control.close()


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not become true")
        time.sleep(0.02)
