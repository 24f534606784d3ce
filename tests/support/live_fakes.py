"""Live sources and sinks without a network: connections that come, stall and go as a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

from stream_guard.errors import SourceError
from stream_guard.live.spec import LiveSpec
from stream_guard.types import Frame

from .fakes import FakeSourceReport, frame, picture

MILLI = Fraction(1, 1000)
DEADLINE = 30.0
"""Seconds after which a test that waits has failed: far beyond what it takes."""


def wait_for(condition: Callable[[], Any], what: str = "") -> None:
    """Until it holds; fails the test after DEADLINE."""
    waiting = threading.Event()
    for _ in range(int(DEADLINE / 0.01)):
        if condition():
            return
        waiting.wait(0.01)
    raise AssertionError(f"waited {DEADLINE:g} s in vain {what}")


def clip(count: int, *, start: int = 0, step: int = 40, level: int = 100, size: tuple[int, int] = (64, 48)) -> list:
    """Frames of a clock in milliseconds, from `start` on."""
    return [
        Frame(picture(level, *size), pts=start + i * step, time_base=MILLI, index=i, duration=step)
        for i in range(count)
    ]


@dataclass
class FakePacket:
    pts: int | None
    dts: int | None
    time_base: Fraction = MILLI
    duration: int = 20


@dataclass(frozen=True)
class Copied:
    packet: Any
    stream: int = 1


@dataclass
class FakeConnection:
    """Yields its items, then does what `then` says: `end`, `fail`, or `stall` until it is interrupted.

    An item that is callable is called in its place: to wait for something in the middle.
    """

    items: Iterable[Any]
    then: str = "fail"
    size: tuple[int, int] = (64, 48)
    rate: Fraction | None = Fraction(25)
    report: FakeSourceReport = field(default_factory=FakeSourceReport)
    interrupted: threading.Event = field(default_factory=threading.Event)
    closed: bool = False
    audio: tuple[Any, ...] = ()

    @property
    def info(self) -> Any:
        video = SimpleNamespace(stream=0, width=self.size[0], height=self.size[1], average_rate=self.rate)
        return SimpleNamespace(video=video, videos=(video,), warnings=())

    def first_picture(self, stream: int) -> Any:
        return picture(100, *self.size)

    def read(self) -> Iterator[Any]:
        for item in self.items:
            if self.interrupted.is_set():
                raise SourceError("the connection was interrupted")
            if callable(item):
                item()
                continue
            yield item
        if self.then == "stall":
            self.interrupted.wait(DEADLINE)
        if self.then != "end":
            raise SourceError("the connection broke")

    def interrupt(self) -> None:
        self.interrupted.set()

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeNet:
    """What connects: each attempt takes the next of `connections`; where none is left it is refused.

    An exception is raised; a callable is called and gives the connection.
    """

    connections: list[Any]
    attempts: int = 0

    def __call__(self, spec: LiveSpec, cancelled: threading.Event) -> Any:
        self.attempts += 1
        if not self.connections:
            raise SourceError("connection refused")
        following = self.connections.pop(0)
        if isinstance(following, Exception):
            raise following
        return following() if callable(following) else following


@dataclass
class FakeLiveSink:
    """Keeps what it is given. `gate` holds every write back until it is set; `fail_at` fails at that frame."""

    items: list[Any] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    silences: list[float] = field(default_factory=list)
    size: tuple[int, int] = (64, 48)
    gate: threading.Event | None = None
    fail_at: int | None = None
    closed: bool = False
    for_good: bool = True
    aborted: bool = False

    @property
    def outputs(self) -> tuple[dict[str, Any], ...]:
        state = {"url": "rtmp://there/***", "state": "open", "bytes": 10 * len(self.items)}
        return (state | {"reconnects": 0, "dropped": 0, "error": ""},)

    @property
    def recording(self) -> dict[str, Any] | None:
        return {"url": "r.mkv", "state": "waiting", "bytes": 0, "reconnects": 0, "dropped": 0, "error": "no space"}

    def fits(self, source: Any) -> str:
        return "" if source.size == self.size else f"the picture is now {source.size}"

    def write(self, shown: Frame) -> None:
        if self.gate is not None:
            self.gate.wait(DEADLINE)
        if shown.index == self.fail_at:
            raise OSError("no space left on the device")
        self.levels.append(float(shown.picture.to_ndarray(format="gray").mean()))
        self.items.append(replace(shown))

    def write_packet(self, copied: Any) -> None:
        self.items.append(copied)

    def write_silence(self, until_seconds: float) -> None:
        self.silences.append(until_seconds)

    def close(self, timeout_seconds: float = 5.0, *, for_good: bool = True) -> None:
        self.closed, self.for_good = True, for_good

    def abort(self) -> None:
        self.aborted = True

    @property
    def frames(self) -> list[Frame]:
        return [item for item in self.items if isinstance(item, Frame)]

    @property
    def times(self) -> list[Fraction]:
        return [shown.pts * shown.time_base for shown in self.frames]

    @property
    def packets(self) -> list[Any]:
        return [item.packet for item in self.items if isinstance(item, Copied)]


@dataclass
class Sinks:
    """Makes sinks and remembers them."""

    made: list[FakeLiveSink] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def __call__(self, spec: LiveSpec, source: Any, on_event: Callable[[str, str], None]) -> FakeLiveSink:
        self.made.append(FakeLiveSink(size=source.size, **self.settings))
        return self.made[-1]

    @property
    def frames(self) -> list[Frame]:
        return [shown for sink in self.made for shown in sink.frames]


__all__ = ["Copied", "FakeConnection", "FakeLiveSink", "FakeNet", "FakePacket", "Sinks", "clip", "frame", "wait_for"]
