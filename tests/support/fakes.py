"""Sources, sinks and stages without files or networks, each with the trouble that its name says."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
import numpy as np

from stream_guard.config import OnFailure, PipelineConfig, StageSpec
from stream_guard.stages.base import Stage, StageOptions
from stream_guard.types import Box, Face, Frame

TIME_BASE = Fraction(1, 25)


def picture(level: int, width: int = 64, height: int = 48, pix_fmt: str = "yuv420p") -> av.VideoFrame:
    """A grey picture; `level` is the value of each RGB channel, 0 to 255."""
    rgb = np.full((height, width, 3), level, np.uint8)
    return av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pix_fmt)


def frame(index: int, level: int | None = None, **changes: Any) -> Frame:
    made = Frame(picture(100 + index % 100 if level is None else level), pts=index, time_base=TIME_BASE, index=index)
    return replace(made, **changes)


def frames(count: int = 12) -> list[Frame]:
    return [frame(i) for i in range(count)]


def mean_level(shown: Frame) -> float:
    """The mean luma of a frame, 0 to 255."""
    return float(shown.picture.to_ndarray(format="gray").mean())


@dataclass
class FakePacket:
    number: int


@dataclass
class FakeSourceReport:
    corrupt_packets: int = 0
    missing_seconds: float = 0.0
    truncated: bool = False


@dataclass
class FakeSource:
    """Yields the given items; `fail_at` raises in place of that item."""

    items: Iterable[Any]
    fail_at: int | None = None
    streams: tuple[int, ...] = (0,)
    report: FakeSourceReport = field(default_factory=FakeSourceReport)
    reads: int = 0
    truncation: str = ""

    @property
    def info(self) -> Any:
        return SimpleNamespace(videos=tuple(SimpleNamespace(stream=s, frames=None) for s in self.streams), warnings=())

    def read(self) -> Iterator[Any]:
        for number, item in enumerate(self.items):
            if number == self.fail_at:
                raise OSError("the disk went away")
            self.reads += 1
            yield item


@dataclass
class FakeSinkReport:
    warnings: tuple[str, ...] = ()
    bytes: int = 0


@dataclass
class FakeSink:
    """Keeps what it is given; `gate` holds every write back until it is set, `fail_at` fails at that frame."""

    items: list[Any] = field(default_factory=list)
    fail_at: int | None = None
    fail_close: bool = False
    gate: threading.Event | None = None
    closed: bool = False
    aborted: bool = False
    report: FakeSinkReport = field(default_factory=FakeSinkReport)

    def write(self, shown: Frame) -> None:
        if self.gate is not None:
            self.gate.wait(10)
        if shown.index == self.fail_at:
            raise OSError("no space left on the device")
        self.report.bytes += 10
        self.items.append(shown)

    def write_packet(self, packet: Any) -> None:
        self.items.append(packet)

    def close(self) -> None:
        if self.fail_close:
            raise OSError("no space left on the device")
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    @property
    def frames(self) -> list[Frame]:
        return [item for item in self.items if isinstance(item, Frame)]


class FindOne(Stage):
    """Finds the same face in every frame; none in the frames of `without`."""

    name = "find"
    description = "finds one face"

    class Options(StageOptions):
        without: tuple[int, ...] = ()

    options: Options

    def process(self, shown: Frame) -> Iterable[Frame]:
        there = shown.index not in self.options.without
        faces = (Face(track=1, box=Box(8, 8, 40, 40), score=0.9),) if there else ()
        return [replace(shown, faces=faces, faces_known=True)]


class ProtectAll(Stage):
    """Marks every face as protected, but those in the frames of `miss`."""

    name = "protect"
    description = "protects"
    protects = True

    class Options(StageOptions):
        miss: tuple[int, ...] = ()

    options: Options

    def process(self, shown: Frame) -> Iterable[Frame]:
        missed = shown.index in self.options.miss
        return [
            replace(shown, faces=tuple(f.unprotected("too_small") if missed else f.protected() for f in shown.faces))
        ]

    def about(self) -> dict[str, str]:
        return {"engine": "fake", "backend": "none"}


class Batch(Stage):
    """Holds frames back and lets them go three at a time."""

    name = "batch"
    description = "holds frames"

    def open(self) -> None:
        self.held: list[Frame] = []

    def process(self, shown: Frame) -> Iterable[Frame]:
        self.held.append(shown)
        if len(self.held) == 3:
            yield from self.flush()

    def flush(self) -> Iterable[Frame]:
        held, self.held = self.held, []
        return held


class Troubled(Stage):
    """Fails, loses, doubles, retimes or resizes at frame `at`, or fails while it is opened or closed."""

    name = "troubled"
    description = "in trouble"

    class Options(StageOptions):
        how: str = "raise"
        at: int = 3

    options: Options

    def open(self) -> None:
        if self.options.how == "open":
            raise RuntimeError("the network is damaged")

    def process(self, shown: Frame) -> Iterable[Frame]:
        if shown.index != self.options.at or self.options.how in ("open", "close"):
            return [shown]
        if self.options.how == "raise":
            raise ValueError("the picture is odd")
        if self.options.how == "lose":
            return []
        if self.options.how == "retime":
            return [replace(shown, pts=shown.pts + 1)]
        if self.options.how == "resize":
            return [replace(shown, picture=picture(100, shown.width // 2, shown.height))]
        return [shown, shown]

    def close(self) -> None:
        if self.options.how == "close":
            raise RuntimeError("the network will not go")


class Slow(Stage):
    """Takes a moment over every frame, so that a run can be interrupted."""

    name = "slow"
    description = "takes a moment"

    def process(self, shown: Frame) -> Iterable[Frame]:
        threading.Event().wait(0.05)
        return [shown]


def spec(stage: type[Stage], **options: Any) -> StageSpec:
    return StageSpec(stage.name, stage, stage.Options(**options))


def pipeline(*specs: StageSpec, on_failure: str = "block", queue: int = 4) -> PipelineConfig:
    return PipelineConfig("test", specs, "", OnFailure(on_failure), queue)


PROTECT = (spec(FindOne), spec(ProtectAll))
