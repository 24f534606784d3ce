"""The threads of one run: the first error of any of them is kept and wakes the others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from .queues import AbortedError

PREFIX = "stream-guard-"


class Crew:
    """Starts threads and joins them. A thread that leaves by AbortedError was told to and has nothing to add."""

    def __init__(self, wake: Callable[[], None], *, daemon: bool = False) -> None:
        """`wake` is called once an error is kept: it must make every other thread leave."""
        self.error: BaseException | None = None
        self._wake = wake
        self._daemon = daemon
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self, name: str, work: Callable[[], None], *, daemon: bool = False) -> None:
        thread = threading.Thread(
            target=self._guarded, args=(work,), name=f"{PREFIX}{name}", daemon=daemon or self._daemon
        )
        self._threads.append(thread)
        thread.start()

    def fail(self, error: BaseException) -> None:
        """Keep `error`, if it is the first, and wake everyone."""
        with self._lock:
            self.error = self.error or error
        self._wake()

    def join(self, *names: str, seconds: float | None = None) -> tuple[str, ...]:
        """Wait for these threads, or all, together at most this long; returns the names of those that still run."""
        deadline = None if seconds is None else monotonic() + seconds
        threads = [t for t in self._threads if not names or t.name.removeprefix(PREFIX) in names]
        for thread in threads:
            thread.join(None if deadline is None else max(deadline - monotonic(), 0.0))
        return tuple(thread.name for thread in threads if thread.is_alive())

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except AbortedError:
            pass  # another thread failed, or the run was stopped
        except BaseException as exc:
            self.fail(exc)
