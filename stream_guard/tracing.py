"""What a trace is told of: phases of a worker, what happened in them, and frames picked now and then.

`OFF` is the default and does nothing. `Recording` keeps the times, and hands finished spans to `Spans`, which knows how
they leave; `stream_guard/otlp.py` has the one for OpenTelemetry. A phase and each picked frame is a trace of its own,
since a stream runs for weeks; a frame is linked to the phase in which it came. Times are those of `perf_counter`.

No attribute holds words of an error, which may name an address: only its type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from types import MappingProxyType
from typing import Any, Protocol

from .types import Frame, Protection

EVERY_SECONDS = 1.0
"""One frame in this time is followed."""
MOST_FRAMES = 32
"""So many are followed at once."""

Attributes = Mapping[str, str | int | float]
NONE: Attributes = MappingProxyType({})


class Spans(Protocol):
    """Where spans go. No call may raise or wait for a network."""

    def begin(self, name: str, started: float, parent: Any = None, link: Any = None) -> Any:
        """A span that goes on: the parent or link of others. Without a parent it begins a trace."""

    def end(self, span: Any, ended: float, error: str = "", attributes: Attributes = NONE) -> None: ...

    def close(self) -> None:
        """Send what waits, within bounds."""


class Tracing:
    """Tracing that is off. Every call may come from any thread."""

    def came_in(self, frame: Frame, started: float) -> None:
        """The frame's life begins; it is followed if it is its turn."""

    def part(self, frame: Frame, name: str, started: float, ended: float, error: str = "") -> None:
        """What was done with a frame."""

    def judged(self, frame: Frame, reason: str | None) -> None:
        """Its faces are known; `reason` as FailurePolicy.apply gives it."""

    def went_out(self, frame: Frame) -> None: ...

    def dropped(self, index: int, reason: str) -> None: ...

    def phase(self, name: str, error: str = "", attributes: Attributes = NONE) -> None:
        """Ends the phase before, with `error` where it failed, and begins another; with an empty name none."""

    def lasted(self, name: str, started: float, error: str = "", attributes: Attributes = NONE) -> None:
        """Something of the present phase that began at `started` and ends now."""

    @contextmanager
    def lasting(self, name: str) -> Iterator[None]:
        """The same for what happens inside."""
        started, error = perf_counter(), ""
        try:
            yield
        except BaseException as exc:
            error = type(exc).__name__
            raise
        finally:
            self.lasted(name, started, error)

    def close(self) -> None: ...


OFF = Tracing()


@dataclass(slots=True)
class _Followed:
    """A frame on its way; one thread after the other has it."""

    stream: int
    started: float
    parts: list[tuple[str, float, float, str]] = field(default_factory=list)
    attributes: dict[str, str | int | float] = field(default_factory=dict)


class Recording(Tracing):
    """Tracing that is on."""

    def __init__(self, spans: Spans, every_seconds: float = EVERY_SECONDS) -> None:
        self._spans, self._every = spans, every_seconds
        self._next = 0.0
        self._followed: dict[int, _Followed] = {}
        self._phase: Any = None
        self._attributes = NONE

    def came_in(self, frame: Frame, started: float) -> None:
        if started < self._next or frame.index in self._followed or len(self._followed) >= MOST_FRAMES:
            return
        self._next = started + self._every
        followed = _Followed(frame.stream, started)
        followed.attributes = {"frame.index": frame.index, "frame.time_seconds": round(frame.time_seconds, 6)}
        self._followed[frame.index] = followed

    def part(self, frame: Frame, name: str, started: float, ended: float, error: str = "") -> None:
        followed = self._of(frame)
        if followed is not None:
            followed.parts.append((name, started, ended, error))

    def judged(self, frame: Frame, reason: str | None) -> None:
        followed = self._of(frame)
        if followed is None:
            return
        followed.attributes["frame.faces"] = len(frame.faces)
        followed.attributes["frame.protected_faces"] = sum(f.protection is Protection.PROTECTED for f in frame.faces)
        if reason is not None:
            followed.attributes["frame.on_failure"] = reason

    def went_out(self, frame: Frame) -> None:
        if self._of(frame) is not None:
            self._finish(frame.index)

    def dropped(self, index: int, reason: str) -> None:
        if index in self._followed:
            self._finish(index, reason)

    def phase(self, name: str, error: str = "", attributes: Attributes = NONE) -> None:
        now = perf_counter()
        if self._phase is not None:
            self._spans.end(self._phase, now, error, self._attributes)
        self._phase = self._spans.begin(name, now) if name else None
        self._attributes = attributes

    def lasted(self, name: str, started: float, error: str = "", attributes: Attributes = NONE) -> None:
        span = self._spans.begin(name, started, parent=self._phase)
        self._spans.end(span, perf_counter(), error, attributes)

    def close(self) -> None:
        for index in list(self._followed):
            self._finish(index, "unfinished")
        self.phase("")
        self._spans.close()

    def _of(self, frame: Frame) -> _Followed | None:
        """With several video streams, frames share numbers."""
        followed = self._followed.get(frame.index) if self._followed else None
        return followed if followed is not None and followed.stream == frame.stream else None

    def _finish(self, index: int, dropped: str = "") -> None:
        followed = self._followed.pop(index, None)
        if followed is None:  # two threads at the end of a stream
            return
        root = self._spans.begin("frame", followed.started, link=self._phase)
        failed = ""
        for name, started, ended, error in followed.parts:
            self._spans.end(self._spans.begin(name, started, parent=root), ended, error)
            failed = failed or error
        if dropped:
            followed.attributes["frame.dropped"] = dropped
        self._spans.end(root, perf_counter(), failed, followed.attributes)
