"""A live stream on a thread of its own, watched by a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from stream_guard.backoff import Backoff
from stream_guard.errors import StreamGuardError
from stream_guard.live.spec import LiveEvent, LiveSpec, LiveStatus
from stream_guard.live.stream import LiveStream
from stream_guard.metrics import Metrics

from ..support.live_fakes import wait_for

QUICK = Backoff(0.05, 0.2, 0.0)
END_SECONDS = 40.0


class Running:
    """The stream, its events, and how it ended."""

    def __init__(self, spec: LiveSpec, **parts: Any) -> None:
        self.events: list[LiveEvent] = []
        self.metrics = Metrics()
        self.stream = LiveStream(spec, self.metrics, self.events.append, **parts)
        self.stop = threading.Event()
        self.error: StreamGuardError | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.stream.run(self.stop)
        except StreamGuardError as exc:
            self.error = exc

    @property
    def status(self) -> LiveStatus:
        """The status now; whenever it is asked for, no picture is missing."""
        status = self.stream.status()
        assert status.frames_in == status.frames_out + sum(status.dropped.values()) + status.in_flight
        return status

    def until(self, condition: Callable[[LiveStatus], Any]) -> None:
        wait_for(lambda: condition(self.status) or not self.thread.is_alive(), f"at {self.status} {self.error}")
        assert condition(self.status), (self.status, self.error)

    def end(self) -> LiveStatus:
        """Wait for the end; the status then."""
        self.thread.join(END_SECONDS)
        assert not self.thread.is_alive()
        assert self.status.in_flight == 0
        return self.status

    def drain(self) -> LiveStatus:
        self.stream.drain()
        return self.end()

    def words(self, kind: str) -> str:
        return "\n".join(event.message for event in list(self.events) if event.kind == kind)

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"stream_guard_{name}", labels) or 0.0


@contextmanager
def running(spec: LiveSpec, **parts: Any) -> Iterator[Running]:
    run = Running(spec, **parts)
    run.thread.start()
    try:
        yield run
    finally:
        run.stop.set()
        run.thread.join(END_SECONDS)
