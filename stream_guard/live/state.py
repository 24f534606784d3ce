"""The phase of a stream, seen by all its threads, and the events that go with it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from ..metrics import Metrics
from ..tracing import OFF, Tracing
from .spec import LiveEvent, LivePhase

LAST = (LivePhase.ENDED, LivePhase.FAILED)
QUIET_SECONDS = 1.0
"""The same kind of event with the same words is told once in this time."""

log = logging.getLogger(__name__)


class State:
    """Thread-safe. `on_event` is called on the thread on which something happened, one call at a time."""

    def __init__(self, metrics: Metrics, on_event: Callable[[LiveEvent], None], tracing: Tracing = OFF) -> None:
        self._metrics, self._on_event, self._tracing = metrics, on_event, tracing
        self._lock = threading.RLock()
        self._phase = LivePhase.STARTING
        self._since = monotonic()
        self._told: dict[tuple[str, str], float] = {}
        self.error = ""
        self._show()

    @property
    def phase(self) -> LivePhase:
        return self._phase

    @property
    def seconds(self) -> float:
        """Since when the phase has lasted."""
        with self._lock:
            return monotonic() - self._since

    def enter(self, phase: LivePhase, message: str = "") -> None:
        """Nothing follows `ended` and `failed`, and only they follow `draining`."""
        with self._lock:
            ending = self._phase is LivePhase.DRAINING and phase not in LAST
            if self._phase is phase or self._phase in LAST or ending:
                return
            self._phase, self._since = phase, monotonic()
            failed = "failed" if phase is LivePhase.FAILED else ""
            self._tracing.phase("" if phase in LAST else f"stream.{phase.value}", failed)
            self._show()
            self.tell("phase", message or phase.value, phase=phase.value)

    def tell(self, kind: str, message: str, *, over: bool = False, **data: Any) -> None:
        """An event; of errors and limits the last one is kept as `error`, until one says that it is over."""
        with self._lock:
            if kind in ("error", "limit"):
                self.error = "" if over else message
            data |= {"over": True} if over else {}
            now = monotonic()
            self._told = {key: time for key, time in self._told.items() if now - time < QUIET_SECONDS}
            if (kind, message) in self._told and kind != "phase":
                return
            self._told[kind, message] = now
            self._on_event(LiveEvent(kind, message, data))

    def _show(self) -> None:
        for phase in LivePhase:
            self._metrics["stream_phase"].labels(phase.value).set(float(phase is self._phase))
