"""A source read in segments: frames only, cut at times that the source alone decides, begun again in the middle.

To begin in the middle, all packets are read from the start, so that every repair of times happens as before, but only
those from a key frame well before the wanted frame are decoded. The pictures just before it must come out as they did
the first time, bit for bit; otherwise, and for sources whose times needed repair, everything is decoded again.
"""

from __future__ import annotations

import dataclasses
import threading
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
import numpy as np

from ..errors import SourceError, StoppedError
from ..types import Frame
from .info import SourceInfo, SourceReport
from .layouts import component_samples, find_layout
from .source import Source, open_source

CHECKED = 4
"""Pictures before a segment whose content is remembered."""
CHECK_SECONDS = 0.3
"""Only pictures this close to a segment's end are remembered: at the usual rates those are enough."""
CHECK_STEPS = 6


@dataclass(frozen=True, slots=True)
class Place:
    """Where a segment begins: its first frame by index and pts, and how to come there again.

    `origin` is the pts of the source's first frame. Decoding from key packet `packet` gives the frames `before`, each
    as (pts, CRC-32 of its samples); packet 0 decodes all.
    """

    origin: int
    index: int
    pts: int
    packet: int = 0
    before: tuple[tuple[int, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Place:
        return cls(**{**data, "before": tuple((pts, crc) for pts, crc in data["before"])})


class SegmentSource:
    """What `pipeline.run` asks of a source: the frames of the one protected stream from a place on.

    `number(frame)` is its segment; `place(number)` where that segment begins, once its first frame was read.
    """

    def __init__(self, source: Source, seconds: float, origin: int | None = None) -> None:
        """`origin` is given for a source that begins in the middle."""
        self.source = source
        self.path = source.path
        self._decoder = source.decoder(source.info.video.stream)
        self._decoder.keys = deque()
        self._base = self._decoder.time_base
        self._length = Fraction(str(seconds)) / self._base
        rate = source.info.video.average_rate or Fraction(25)
        self._window = max(Fraction(str(CHECK_SECONDS)), CHECK_STEPS / rate) / self._base
        self._origin = origin
        self._seen: deque[tuple[int, int]] = deque(maxlen=CHECKED)
        self._places: dict[int, Place] = {}
        self._last: int | None = None
        self._ready: Iterator[Frame] | None = None

    @property
    def info(self) -> SourceInfo:
        return self.source.info

    @property
    def report(self) -> SourceReport:
        return self.source.report

    @property
    def truncation(self) -> str:
        return self.source.truncation

    def read(self) -> Iterator[Frame]:
        for frame in self._ready if self._ready is not None else self.frames():
            self._note(frame)
            yield frame

    def number(self, frame: Frame) -> int:
        return int((frame.pts - (self._origin or 0)) // self._length)

    def place(self, number: int) -> Place:
        return self._places[number]

    def frames(self) -> Iterator[Frame]:
        """The source's frames without the packets of other streams."""
        return (item for item in self.source.read() if isinstance(item, Frame))

    def begin(self, place: Place, stop: threading.Event) -> bool:
        """Go to `place`; False where the pictures before it do not come out as they did. Called once, before `read`."""
        if place.packet and not self.source.begin_at(self.info.video.stream, place.packet):
            return False
        seen: deque[Frame] = deque(maxlen=CHECKED)
        flow = self.frames()
        for passed, frame in enumerate(flow):
            if stop.is_set():
                raise StoppedError("stopped while the place to go on at was looked for")
            if frame.pts >= place.pts:
                self.report.frames += place.index - passed
                self._ready = self._numbered(place.index, frame, flow)
                same = _same(seen, place.before) if place.packet else passed == place.index
                return same and frame.pts == place.pts
            seen.append(frame)
        return False

    def close(self) -> None:
        self.source.close()

    def _numbered(self, index: int, first: Frame, flow: Iterator[Frame]) -> Iterator[Frame]:
        yield replace(first, index=index)
        for number, frame in enumerate(flow, index + 1):
            yield replace(frame, index=number)

    def _note(self, frame: Frame) -> None:
        """Remember where segments begin, and the pictures before."""
        if self._origin is None:
            self._origin = frame.pts
        number = self.number(frame)
        if number != self._last:
            self._places[number] = self._here(frame)
            self._last = number
        left = (number + 1) * self._length - (frame.pts - self._origin)
        if left <= self._window:
            crc = checksum(frame.picture)
            if crc is None:
                self._seen.clear()
            else:
                self._seen.append((frame.pts, crc))

    def _here(self, frame: Frame) -> Place:
        before = tuple(self._seen)
        self._seen.clear()
        return Place(self._origin or 0, frame.index, frame.pts, self._key_before(before), before)

    def _key_before(self, before: tuple[tuple[int, int], ...]) -> int:
        """The last key packet but one before the remembered pictures; 0 where the source is not as it should be."""
        report, keys = self.report, self._decoder.keys
        troubled = (
            self._decoder.counts_packets
            or report.pts_invented
            or report.pts_repaired
            or report.corrupt_packets
            or report.read_errors
        )
        if not before or not keys or troubled or report.size_changes or report.corrupt_frames:
            return 0
        earlier = [number for number, pts in list(keys) if pts <= before[0][0]][-2:]
        if len(earlier) < 2:
            return 0
        while keys[0][0] < earlier[0]:
            keys.popleft()
        return earlier[0]


def open_segments(
    path: str, seconds: float, place: Place | None = None, stop: threading.Event | None = None
) -> SegmentSource:
    """Open `path` to be read in segments of `seconds`, from `place` on; None is the start.

    Raises what `open_source` raises, StoppedError, and SourceError where the frame of that place is not there any more.
    """
    halt = stop or threading.Event()
    if place is None:
        return SegmentSource(open_source(path), seconds)
    for packet in dict.fromkeys((place.packet, 0)):
        source = SegmentSource(open_source(path), seconds, place.origin)
        try:
            if source.begin(replace(place, packet=packet), halt):
                return source
        except BaseException:
            source.close()
            raise
        source.close()
    raise SourceError(f"the input {path!r} does not decode as it did before; it was changed or is damaged")


def checksum(picture: av.VideoFrame) -> int | None:
    """CRC-32 of the picture's samples without padding; None for formats whose samples we cannot see."""
    layout = find_layout(picture.format.name)
    if layout is None:
        return None
    crc = 0
    for component in layout.components:
        crc = zlib.crc32(np.ascontiguousarray(component_samples(picture, component)).data, crc)
    return crc


def _same(seen: deque[Frame], before: tuple[tuple[int, int], ...]) -> bool:
    got = [(frame.pts, checksum(frame.picture)) for frame in seen][-len(before) :]
    return got == list(before)
