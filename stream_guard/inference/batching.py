"""One session shared by several threads: what they ask at the same time is run as one batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic

import numpy as np

from ..errors import EngineError
from .session import Array, Session

Key = tuple[tuple[str, str, tuple[int, ...]], ...]
MOST_BUFFERS = 4
"""Kinds of input (shapes without the batch) for which a buffer is kept; the oldest makes place."""


@dataclass(slots=True, eq=False)
class _Request:
    """One caller's inputs, and what became of them."""

    feeds: dict[str, Array]
    rows: int
    key: Key
    result: dict[str, Array] = field(default_factory=dict)
    error: BaseException | None = None
    done: bool = False


class Batcher:
    """A `Session` for any number of threads, in front of one that takes a single thread at a time.

    It has no thread of its own: the caller who comes first runs what is waiting, at most `max_batch` rows, for all.
    Whoever comes meanwhile is in the next batch, so that under load batches fill by themselves. With `seats` of more
    than one thread open, the first caller waits up to `max_wait_ms` for the others; a lone caller never waits, and its
    inputs go to the session as they are. An error reaches only those whose inputs cause it: a batch that fails is run
    again caller by caller. Memory is one buffer of `max_batch` rows for each kind of input.
    """

    def __init__(self, session: Session, *, max_batch: int = 32, max_wait_ms: float = 2.0) -> None:
        """The session is the batcher's to close. Raises EngineError for limits that make no sense."""
        if max_batch < 1 or not 0 <= max_wait_ms < 1000:
            raise EngineError(
                f"a batcher of at most {max_batch} rows that waits {max_wait_ms} ms was asked for; "
                "give at least 1 row and a wait of 0 to 999 ms"
            )
        self._session = session
        self._max_batch, self._wait_seconds = max_batch, max_wait_ms / 1000
        self.backend, self.inputs, self.outputs = session.backend, session.inputs, session.outputs
        self._changed = threading.Condition()
        self._waiting: deque[_Request] = deque()
        self._buffers: dict[Key, dict[str, Array]] = {}
        self._leading = self._closed = False
        self._seats = 0
        self.batches = self.rows = self.buffers_made = 0
        """Runs of the session, the rows in them, and buffers that were allocated."""

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """From any thread, as `Session.run`. Raises EngineError, also once the batcher is closed."""
        request = _Request(feeds, *_kind(feeds))
        with self._changed:
            if self._closed:
                raise EngineError("the session was closed")
            self._waiting.append(request)
            self._changed.notify_all()
        try:
            while not request.done:
                batch = self._lead_or_wait(request)
                if batch:
                    self._serve(batch)
        except BaseException:  # this thread was interrupted: nobody must wait for it
            self._withdraw(request)
            raise
        if request.error is not None:
            raise request.error
        return request.result

    def seat(self) -> Seat:
        """The batcher for one more thread that will ask again and again; closed by that thread."""
        with self._changed:
            self._seats += 1
        return Seat(self)

    def leave(self) -> None:
        """A seat was closed: nobody waits for it any longer."""
        with self._changed:
            self._seats -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Take no more, finish what was taken, close the session. May be called again."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting and not self._leading)
            self._buffers.clear()
        self._session.close()

    def _lead_or_wait(self, request: _Request) -> list[_Request]:
        """A batch to run on this thread; empty once the request is done by another."""
        with self._changed:
            self._changed.wait_for(lambda: request.done or not self._leading)
            if request.done:
                return []
            deadline = monotonic() + self._wait_seconds
            self._leading = True
            try:
                while not self._full() and (left := deadline - monotonic()) > 0:
                    self._changed.wait(left)
                return self._taken()
            except BaseException:
                self._leading = False
                raise

    def _withdraw(self, request: _Request) -> None:
        with self._changed:
            self._waiting = deque(other for other in self._waiting if other is not request)
            self._changed.notify_all()

    def _full(self) -> bool:
        """Whether waiting longer is of no use: all are here, the batch is full, or we are closing."""
        rows = sum(request.rows for request in self._waiting)
        return self._closed or len(self._waiting) >= self._seats or rows >= self._max_batch

    def _taken(self) -> list[_Request]:
        """The longest waiting request and those like it, as many as fit."""
        first = self._waiting.popleft()
        batch, rows, others = [first], first.rows, deque[_Request]()
        while self._waiting:
            request = self._waiting.popleft()
            if request.key == first.key and rows + request.rows <= self._max_batch:
                batch.append(request)
                rows += request.rows
            else:
                others.append(request)
        self._waiting = others
        return batch

    def _serve(self, batch: Sequence[_Request]) -> None:
        try:
            if len(batch) == 1 or not self._together(batch):
                for request in batch:
                    self._alone(request)
        finally:
            with self._changed:
                self._leading = False
                for request in batch:
                    if not request.result and request.error is None:  # this thread was interrupted
                        request.error = EngineError("the batch was broken off")
                    request.done = True
                self._changed.notify_all()

    def _alone(self, request: _Request) -> None:
        self.batches, self.rows = self.batches + 1, self.rows + request.rows
        try:
            request.result = self._session.run(request.feeds)
        except Exception as error:  # whatever the session raises is its caller's
            request.error = error

    def _together(self, batch: Sequence[_Request]) -> bool:
        """Run as one; False where that fails, with nothing handed out."""
        rows = sum(request.rows for request in batch)
        buffer = self._buffer(batch[0])
        at = 0
        for request in batch:
            for name, array in request.feeds.items():
                buffer[name][at : at + request.rows] = array
            at += request.rows
        self.batches, self.rows = self.batches + 1, self.rows + rows
        try:
            results = self._session.run({name: array[:rows] for name, array in buffer.items()})
        except EngineError:
            return False
        if any(len(array) != rows for array in results.values()):
            return False  # an output without a batch can't be shared out
        at = 0
        for request in batch:
            # A copy: a part that a caller keeps must not keep the whole batch.
            request.result = {name: array[at : at + request.rows].copy() for name, array in results.items()}
            at += request.rows
        return True

    def _buffer(self, like: _Request) -> dict[str, Array]:
        buffer = self._buffers.pop(like.key, None)
        if buffer is None:
            self.buffers_made += 1
            buffer = {n: np.empty((self._max_batch, *a.shape[1:]), a.dtype) for n, a in like.feeds.items()}
        self._buffers[like.key] = buffer
        if len(self._buffers) > MOST_BUFFERS:
            del self._buffers[next(iter(self._buffers))]
        return buffer


class Seat:
    """A `Session` that is one thread's place at a batcher; closing it leaves the batcher to the others."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher: Batcher | None = batcher
        self.backend, self.inputs, self.outputs = batcher.backend, batcher.inputs, batcher.outputs

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        if self._batcher is None:
            raise EngineError("the session was closed")
        return self._batcher.run(feeds)

    def close(self) -> None:
        batcher, self._batcher = self._batcher, None
        if batcher is not None:
            batcher.leave()


def _kind(feeds: dict[str, Array]) -> tuple[int, Key]:
    """How many rows, and what must be alike to share a batch. What is no batch is alike to nothing but itself."""
    shapes = [array.shape for array in feeds.values()]
    if not shapes or any(not shape or shape[0] != shapes[0][0] for shape in shapes):
        return 1, ((f"{id(feeds)}", "", ()),)
    return shapes[0][0], tuple(sorted((n, a.dtype.str, a.shape[1:]) for n, a in feeds.items()))
