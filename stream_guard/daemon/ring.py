"""The last events of the daemon, numbered, for any number of readers."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from .control import Event

KEPT = 1000
SILENCE_SECONDS = 5.0
"""After this long without an event a reader gets None, so that it can see whether its client is still there."""


class Ring:
    """Keeps the newest `kept` events. A reader that is too slow misses the oldest, and sees it by the numbers."""

    def __init__(self, kept: int = KEPT) -> None:
        self._events: deque[Event] = deque(maxlen=kept)
        self._changed = threading.Condition()
        self._next = int(time.time() * 1000)  # after a restart higher than before: Last-Event-ID stays true
        self._closed = False

    def publish(
        self, kind: str, message: str, *, stream: str = "", job: str = "", data: dict[str, Any] | None = None
    ) -> Event:
        with self._changed:
            event = Event(self._next, time.time(), kind, message, stream, job, data)
            self._next += 1
            self._events.append(event)
            self._changed.notify_all()
        return event

    def close(self) -> None:
        """End every reader once it has all there is."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def read(self, since: int = 0, stream: str = "", silence: float = SILENCE_SECONDS) -> Iterator[Event | None]:
        """Events numbered above `since`, those of one stream where it is named; None after each silence.

        A number that was never given is of an earlier daemon, whose clock was ahead: then all that are kept come.
        """
        with self._changed:
            since = since if since < self._next else 0
        while True:
            with self._changed:
                if not self._new(since) and not self._closed:
                    self._changed.wait(silence)
                found, ended = self._new(since), self._closed
            since = found[-1].id if found else since
            chosen = [event for event in found if not stream or event.stream == stream]
            yield from chosen
            if ended:
                return
            if not chosen:
                yield None

    def _new(self, since: int) -> list[Event]:
        return [event for event in self._events if event.id > since]
