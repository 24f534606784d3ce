"""Whether the machine keeps up: one picture that comes too late is chance, a quarter of them for seconds is not.

Unless the stages had nothing to do for much of that time: then the source hung, and sent all at once what it had kept.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

SECONDS = 5.0
SHARE = 0.25
"""More than this share of late pictures over SECONDS means that the machine is too slow."""
REST = 0.25
"""But a machine that waited for pictures for this share of SECONDS is fast enough."""


class Pressure:
    """Thread-safe: pictures are found late where they are read and where they are taken up, on two threads."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: deque[tuple[float, bool, float]] = deque()  # when, whether late, and the rest before it
        self._since: float | None = None
        self._late = 0
        self._rests = self._resting = 0.0

    def note(self, *, late: bool) -> None:
        with self._lock:
            now = self._clock()
            self._since = now if self._since is None else self._since
            self._seen.append((now, late, self._resting))
            self._late += late
            self._rests, self._resting = self._rests + self._resting, 0.0
            while self._seen[0][0] < now - SECONDS:
                _, was_late, rest = self._seen.popleft()
                self._late -= was_late
                self._rests -= rest

    def rested(self, seconds: float) -> None:
        """So long the stages had to wait for what comes next."""
        with self._lock:
            self._resting += seconds

    def forget(self) -> None:
        """A new connection begins: what it sends at once says nothing of the machine."""
        with self._lock:
            self._seen.clear()
            self._since, self._late = None, 0
            self._rests = self._resting = 0.0

    @property
    def too_slow(self) -> bool:
        """Whether it has lasted long enough to be believed."""
        with self._lock:
            lasted = self._since is not None and self._clock() - self._since >= SECONDS
            return lasted and self._late > SHARE * len(self._seen) and self._rests < REST * SECONDS
