"""Feeds a clip to live sinks until a test has seen enough, and reads what came of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from stream_guard.backoff import Backoff
from stream_guard.media import CopiedPacket, LiveOutput, LiveSink, open_live
from stream_guard.types import Frame

QUICK = Backoff(0.05, 0.2)


class Feed:
    """A clip repeated for ever on one clock, written to a sink from a thread, as fast as `rate` pictures a second."""

    def __init__(self, clip: Path, sink: LiveSink, rate: float = 50.0, sound: bool = True) -> None:
        self.sink, self.frames, self._sound, self._rate = sink, 0, sound, rate
        with open_live(str(clip), allow_files=True) as source:
            source._pacer = None
            self._items = list(source.read())
        self._stop = threading.Event()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            lap = Fraction(0)
            length = max(i.time_seconds or 0 for i in self._items if isinstance(i, Frame)) + 0.04
            while not self._stop.is_set():
                for item in self._items:
                    self._write(item, lap)
                    if self._stop.is_set():
                        return
                lap += Fraction(length).limit_denominator(1000)
        except BaseException as error:
            self.error = error

    def _write(self, item: Frame | CopiedPacket, lap: Fraction) -> None:
        if isinstance(item, Frame):
            self.sink.write(replace(item, pts=item.pts + round(lap / item.time_base)))
            self.frames += 1
            self._stop.wait(1 / self._rate)
        elif self._sound:
            packet = av.Packet(bytes(item.packet))
            packet.time_base, packet.duration = item.packet.time_base, item.packet.duration
            packet.pts = packet.dts = (item.packet.pts or 0) + round(lap / Fraction(packet.time_base))
            self.sink.write_packet(CopiedPacket(packet, item.stream))


@contextmanager
def fed(clip: Path, outputs: list[LiveOutput], **options: Any) -> Iterator[LiveSink]:
    """A sink with these outputs that is fed until the block ends, and closed then."""
    feed = {name: options.pop(name) for name in ("rate", "sound") if name in options}
    with open_live(str(clip), allow_files=True) as source:
        sink = LiveSink(source, outputs, options.pop("settings", None), retry=QUICK, **options)
    with sink, Feed(clip, sink, **feed):
        yield sink


def state(sink: LiveSink, number: int = 0) -> Any:
    return sink.outputs[number]["state"]


def times(path: Path | str, kind: str) -> list[float]:
    """The times of a file's packets of the first stream of a kind."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return [float(p.pts * p.time_base) for p in container.demux(stream) if p.pts is not None]


def recorded(sink: LiveSink) -> int:
    """The pictures that its recording has taken so far."""
    assert sink._recording is not None
    return sink._recording.pictures


def write_all(sink: LiveSink, seen: list[Frame | CopiedPacket], offset: Fraction) -> None:
    """Write items moved by `offset` seconds; packets are copies, because muxers and shifts change them."""
    for item in seen:
        if isinstance(item, Frame):
            sink.write(replace(item, pts=item.pts + round(offset / item.time_base)))
            continue
        packet = av.Packet(bytes(item.packet))
        packet.time_base, packet.duration = item.packet.time_base, item.packet.duration
        packet.pts = packet.dts = (item.packet.pts or 0) + round(offset / Fraction(packet.time_base))
        sink.write_packet(CopiedPacket(packet, item.stream))
