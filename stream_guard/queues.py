"""The bounded queue between two threads of the pipeline."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

OTHERS_PER_FRAME = 128
"""How many copied packets may wait for each frame that may wait: far above what real files interleave."""


class AbortedError(Exception):
    """The run was given up: whoever waits on a queue leaves."""


class FrameQueue(Generic[T]):
    """First in, first out; `put` waits while the queue is full, `get` while it is empty.

    Full is counted in frames, so that the packets of three audio tracks do not take the places of pictures, and for
    the other items by a bound of their own, so that an hour of audio before the first picture does not fill the memory.
    The reader takes whatever comes next and never waits for a certain kind: no interleaving can block the two for good.
    """

    def __init__(self, frames: int) -> None:
        self._limits = {True: frames, False: frames * OTHERS_PER_FRAME}
        self._counts = {True: 0, False: 0}
        self._items: deque[tuple[bool, T]] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._aborted = False

    def put(self, item: T, *, is_frame: bool) -> None:
        """Append, waiting for room. Raises AbortedError when the run was given up meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: self._aborted or self._counts[is_frame] < self._limits[is_frame])
            if self._aborted:
                raise AbortedError
            self._items.append((is_frame, item))
            self._counts[is_frame] += 1
            self._changed.notify_all()

    def push(self, item: T) -> T | None:
        """Append a frame without waiting for room: where there is none, the oldest frame gives way and is returned."""
        with self._changed:
            if self._aborted:
                raise AbortedError
            pushed_out = self._oldest_frame() if self._counts[True] >= self._limits[True] else None
            self._items.append((True, item))
            self._counts[True] += 1
            self._changed.notify_all()
            return pushed_out

    def resize(self, frames: int) -> None:
        """Hold at most this many frames from now on; what waits already stays."""
        with self._changed:
            self._limits = {True: frames, False: frames * OTHERS_PER_FRAME}
            self._changed.notify_all()

    def get(self, timeout_seconds: float | None = None) -> T | None:
        """The oldest item, or None once the queue was ended and is empty. Raises AbortedError likewise.

        Raises TimeoutError when nothing came within `timeout_seconds`; None waits for ever.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._aborted or self._items or self._ended, timeout_seconds):
                raise TimeoutError
            if self._aborted:
                raise AbortedError
            if not self._items:
                return None
            is_frame, item = self._items.popleft()
            self._counts[is_frame] -= 1
            self._changed.notify_all()
            return item

    def end(self) -> None:
        """No more items will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def abort(self) -> None:
        """Wake everyone who waits and drop what is held."""
        with self._changed:
            self._aborted = True
            self._items.clear()
            self._counts = {True: 0, False: 0}
            self._changed.notify_all()

    def _oldest_frame(self) -> T | None:
        """Take the oldest frame out of its place among the other items."""
        for place, (is_frame, item) in enumerate(self._items):
            if is_frame:
                del self._items[place]
                self._counts[True] -= 1
                return item
        return None

    @property
    def frames(self) -> int:
        """Frames that wait now."""
        return self._counts[True]
