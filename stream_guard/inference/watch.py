"""What happens to an engine while it is in use, told to whoever opened it: a build, a swap, a fallback.

Stages know no metrics and sessions know no stages. Who opens a stage listens while it does so; the sessions made inside
keep that listener and tell it, on whatever thread, what becomes of them later.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

Kind = Literal["building", "built", "build_failed", "swapped", "fallback"]


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """`backend` is the one that is built, was swapped in, or fell back to; `serving` the one that works meanwhile.

    `fraction` (0 to 1) and `left_seconds` of a build are None where nobody knows. `reason` of a fallback is a word of
    standby.REASONS, a metric's label; of a failed build it is the sentence that says why.
    """

    kind: Kind
    backend: str
    serving: str = ""
    message: str = ""
    fraction: float | None = None
    left_seconds: float | None = None
    reason: str = ""


Listener = Callable[[EngineEvent], None]
"""Called from any thread, one call at a time a session; must not wait."""


def _nobody(event: EngineEvent) -> None:
    """Where nobody listens."""


_listener: ContextVar[Listener] = ContextVar("stream_guard_engine_listener", default=_nobody)


def listener() -> Listener:
    """Who listens to the sessions that are being made now."""
    return _listener.get()


@contextlib.contextmanager
def listening(to: Listener) -> Iterator[None]:
    """Sessions that are made inside, on this thread, tell `to` what becomes of them."""
    token = _listener.set(to)
    try:
        yield
    finally:
        _listener.reset(token)
